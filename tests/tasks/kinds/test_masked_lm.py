import dataclasses

import numpy as np
import pytest
import torch
from datasets import Dataset
from support.shared_data import task_config
from support.tagged import pieces_tokenizer
from support.tiny import VOCABULARY, tiny_config
from transformers import AutoModelForMaskedLM, EvalPrediction

from kdfeatures.errors import UserError
from kdfeatures.tasks.mlm_masking import MaskingCollator, with_fixed_masks
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

TASK = Task.from_config(task_config("text"))
KIND = task_type(TASK)
TEXTS = ["ada met alan turing", "sleepless in york", "near the garden", "grace hopper saw the new garden"] * 5


def encoded(texts=TEXTS, max_length=12, task=TASK):
    return KIND.encode(Dataset.from_dict({"text": list(texts)}), pieces_tokenizer(), task, max_length)


def test_blocks_hold_all_tokens_in_order_with_special_ones_around_each():
    words, rows = pieces_tokenizer(), encoded()
    cls, sep = words.cls_token_id, words.sep_token_id
    assert all(row["input_ids"][0] == cls and row["input_ids"][-1] == sep for row in rows)
    assert {len(row["input_ids"]) for row in list(rows)[:-1]} == {12}
    inner = [token for row in rows for token in row["input_ids"][1:-1]]
    expected = [[*words(text, add_special_tokens=False)["input_ids"], sep] for text in TEXTS]
    assert inner == [token for own in expected for token in own][:-1]
    assert set(rows.column_names) == {"input_ids", "attention_mask", "token_type_ids"}


def test_without_blocks_each_text_is_an_example():
    single = dataclasses.replace(TASK, reading=dataclasses.replace(TASK.reading, blocks=False))
    rows = encoded(max_length=5, task=single)
    assert rows["input_ids"][:] == pieces_tokenizer()(TEXTS, truncation=True, max_length=5)["input_ids"]


def test_a_stream_gives_the_same_blocks():
    stream = KIND.encode(Dataset.from_dict({"text": TEXTS}).to_iterable_dataset(), pieces_tokenizer(), TASK, 12)
    assert [row["input_ids"] for row in stream] == encoded()["input_ids"][:]


def test_a_max_length_without_room_is_refused():
    with pytest.raises(UserError, match="max_length=2 leaves no room for text beside 2 special tokens"):
        encoded(max_length=2)


def collate(rows, seed=1, share=0.4):
    return MaskingCollator(pieces_tokenizer(), share, seed=seed, rows=True)([dict(row) for row in rows])


def test_masks_follow_from_seed_and_batch_alone():
    rows = list(encoded())
    first = collate(rows[:4])
    torch.manual_seed(99)
    torch.testing.assert_close(dict(collate(rows[:4])), dict(first))
    assert not torch.equal(collate(rows[:4], seed=2)["labels"], first["labels"])
    assert not torch.equal(collate([rows[1], rows[0], *rows[2:4]])["labels"][[1, 0, 2, 3]], first["labels"])


def test_a_masked_batch_has_the_truth_where_tokens_were_masked_and_rows_where_they_are_real():
    rows = [encoded()[0], {name: values[:6] for name, values in encoded()[1].items()}]
    batch = collate(rows, share=0.9)
    words = pieces_tokenizer()
    plain = torch.nn.utils.rnn.pad_sequence([torch.tensor(row["input_ids"]) for row in rows], batch_first=True)
    masked = batch["labels"] != -100
    assert torch.equal(batch["labels"][masked], plain[masked])
    assert torch.equal(batch["input_ids"][~masked], plain[~masked])
    special = torch.isin(plain, torch.tensor(words.all_special_ids))
    assert masked.sum() > 5 and not (masked & special).any()
    assert torch.equal(batch["rows"], batch["attention_mask"].bool())


def test_scored_examples_have_the_same_masks_in_any_order_and_batch():
    examples = encoded()
    once = with_fixed_masks(examples, pieces_tokenizer(), 0.4)
    again = with_fixed_masks(examples.select([3, 0]), pieces_tokenizer(), 0.4)
    assert [again[0], again[1]] == [once[3], once[0]]
    batch = MaskingCollator(pieces_tokenizer(), 0.4, seed=5, rows=False)([once[0], once[3]])
    assert batch["labels"].tolist() == [once[0]["labels"], once[3]["labels"]] and "rows" not in batch


def masks(examples):
    return [[label != -100 for label in labels] for labels in examples["labels"]]


def test_masks_drawn_once_follow_from_the_seed_and_the_examples_own_tokens():
    examples = encoded()
    once = with_fixed_masks(examples, pieces_tokenizer(), 0.4, seed=7)
    torch.manual_seed(99)
    order = [2, 0, 3, 1]
    again = with_fixed_masks(examples.select(order), pieces_tokenizer(), 0.4, seed=7)
    assert list(again) == [once[row] for row in order]
    assert len({tuple(mask) for mask in masks(once)[:-1]}) > 5  # each block has its own
    assert masks(with_fixed_masks(examples, pieces_tokenizer(), 0.4, seed=8)) != masks(once)
    assert masks(with_fixed_masks(examples, pieces_tokenizer(), 0.4)) != masks(once)
    assert masks(with_fixed_masks(examples, pieces_tokenizer(), 0.2, seed=7)) != masks(once)


def test_a_stream_gets_the_same_masks():
    stream = with_fixed_masks(encoded().to_iterable_dataset(), pieces_tokenizer(), 0.4, seed=7)
    assert list(stream) == list(with_fixed_masks(encoded(), pieces_tokenizer(), 0.4, seed=7))


def test_of_the_tokens_drawn_once_eight_in_ten_are_masked_one_is_another_and_one_stays():
    words, length, count = pieces_tokenizer(), 128, 400
    inner = torch.randint(5, len(words), (count, length - 2), generator=torch.Generator().manual_seed(1))
    ids = torch.nn.functional.pad(inner, (1, 1), value=words.sep_token_id)
    rows = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()})
    found = with_fixed_masks(rows, words, 0.15, seed=3).with_format("torch")[:]
    read, drawn = torch.as_tensor(found["input_ids"]), torch.as_tensor(found["labels"]) != -100
    assert not drawn[:, [0, -1]].any()
    assert drawn[:, 1:-1].float().mean().item() == pytest.approx(0.15, abs=0.006)
    masked, same = read[drawn] == words.mask_token_id, read[drawn] == ids[drawn]
    by_chance = 0.1 / len(words)  # another token is any of the vocabulary
    assert masked.float().mean().item() == pytest.approx(0.8 + by_chance, abs=0.02)
    assert same.float().mean().item() == pytest.approx(0.1 + by_chance, abs=0.015)
    assert torch.equal(read[~drawn], ids[~drawn])


def test_states_before_the_decoder_give_the_answers_of_the_model():
    model = AutoModelForMaskedLM.from_config(tiny_config("bert")).eval()
    torch.nn.init.normal_(model.get_output_embeddings().bias)
    examples = with_fixed_masks(encoded(), pieces_tokenizer(), 0.3)
    expected = KIND.predict(model, examples, pieces_tokenizer(), None, task=TASK, batch_size=3, title="test")
    with torch.no_grad():
        hidden = [model.bert(torch.tensor([row["input_ids"]])).last_hidden_state[0] for row in examples]
        states = [model.cls.predictions.transform(of_row) for of_row in hidden]
    found = KIND.of_decoder_states(states, model.get_output_embeddings(), examples)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_scores_are_those_of_the_masked_tokens():
    model = AutoModelForMaskedLM.from_config(tiny_config("bert")).eval()
    examples = with_fixed_masks(encoded(), pieces_tokenizer(), 0.3)
    answers = KIND.predict(model, examples, pieces_tokenizer(), None, task=TASK, batch_size=3, title="test")
    losses, right = [], []
    for row in examples:
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([row["input_ids"]])).logits[0].log_softmax(-1)
        for at, label in enumerate(row["labels"]):
            if label != -100:
                losses.append(-log_p[at, label].item())
                right.append(log_p[at].argmax().item() == label)
    np.testing.assert_allclose(answers, np.stack([losses, right], axis=1), atol=1e-4)
    scores = KIND.score(answers, examples, TASK)
    assert scores == {"masked_accuracy": pytest.approx(np.mean(right)),
                      "perplexity": pytest.approx(np.exp(np.mean(losses)), rel=1e-4)}  # fmt: skip


def test_the_trainer_gathers_two_numbers_a_token_and_finds_the_same_scores():
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 5, VOCABULARY), torch.randint(0, VOCABULARY, (3, 5))
    labels[:, 2:] = -100
    kept = KIND.kept(logits, labels)
    assert kept.shape == (3, 5, 2)
    answers = KIND.gathered(EvalPrediction(kept.numpy(), labels.numpy()), encoded(), TASK)
    found = KIND.score(answers, encoded(), TASK)
    loss = torch.nn.functional.cross_entropy(logits[:, :2].flatten(0, 1), labels[:, :2].flatten())
    assert found["perplexity"] == pytest.approx(loss.exp().item(), rel=1e-5)


def test_a_tokenizer_without_a_mask_token_is_refused():
    words = pieces_tokenizer()
    words.mask_token = None
    with pytest.raises(UserError, match="has no mask token"):
        MaskingCollator(words, 0.15, seed=0, rows=True)
