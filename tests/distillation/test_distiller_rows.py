"""The Distiller with models that give logits for tokens."""

import pytest
import torch
from datasets import Dataset
from support.caching import small_cache
from support.tagged import TAGS, TASK, pieces_tokenizer, sentences
from support.tiny import tiny_config
from transformers import AutoModelForTokenClassification

from kdfeatures.cache import CachedCollator, logits_for, needed, with_rows
from kdfeatures.data.load import encode
from kdfeatures.data.subsets import hide_labels
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.losses import DecoupledKD, HardLabel, HiddenMSE, LogitKD, ReverseKL
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.tasks.registry import task_type

KIND = task_type(TASK)
COLUMNS = [0, 2, 1, 4, 3]


def tagger(layers):
    config = tiny_config("bert", layers=layers, num_labels=len(TAGS), hidden_dropout_prob=0.0)
    config.attention_probs_dropout_prob = 0.0
    return AutoModelForTokenClassification.from_config(config)


@pytest.fixture
def distiller():
    terms = {
        "labels": BoundTerm(HardLabel(), 0.5),
        "logits": BoundTerm(LogitKD(temperature=2.0), 0.5),
        "reverse": BoundTerm(ReverseKL(temperature=1.0), 0.5),
        "decoupled": BoundTerm(DecoupledKD(temperature=2.0, target_weight=1.0, other_weight=2.0), 0.5),
        "hidden": BoundTerm(HiddenMSE(), 1.0, (LayerPair(2, 3),)),
    }

    class Same(torch.nn.Module):
        def forward(self, pair, student, teacher):
            return student, teacher

    return Distiller(tagger(2), tagger(3), BoundObjective(terms, Same()), COLUMNS).train()


@pytest.fixture
def examples():
    raw = KIND.checked(Dataset.from_list(sentences(20, 5)), TASK, "train")
    return hide_labels(encode(raw, pieces_tokenizer(), TASK, 32), 12, seed=0)


def batch_of(examples, rows):
    return KIND.collator(pieces_tokenizer(), TASK, rows=True, seed=0)([examples[row] for row in rows])


def test_losses_see_the_words_one_by_one(distiller, examples):
    batch = batch_of(examples, range(10))
    distiller(**batch)
    terms, words = distiller.objective.terms, batch["labels"].new_zeros(0)
    own, theirs = [], []
    for row in [examples[i] for i in range(10)]:
        ids, begins = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"]) != -100
        own.append(distiller.student(input_ids=ids).logits[0][begins])
        theirs.append(distiller.teacher(input_ids=ids).logits[0][begins][:, COLUMNS])
        words = torch.cat([words, torch.tensor(row["labels"])[begins]])
    own, theirs, words = torch.cat(own), torch.cat(theirs), words.masked_fill(words == -1, -100)
    assert (words == -100).any() and len(words) == batch["rows"].sum()
    torch.testing.assert_close(distiller.parts["labels"], terms["labels"].loss(own, words).detach())
    for name in ("logits", "reverse"):
        torch.testing.assert_close(distiller.parts[name], terms[name].loss(own, theirs).detach())
    torch.testing.assert_close(distiller.parts["decoupled"], terms["decoupled"].loss(own, theirs, words).detach())


def test_padding_does_not_change_the_loss(distiller, examples):
    batch = batch_of(examples, range(6))
    wider = {name: torch.nn.functional.pad(tensor, (0, 5)) for name, tensor in batch.items() if name != "labels"}
    labels = torch.nn.functional.pad(batch["labels"], (0, 5), value=-100)
    torch.testing.assert_close(distiller(**wider, labels=labels).loss, distiller(**batch).loss)


def test_in_eval_mode_hidden_labels_are_left_out(distiller, examples):
    batch = batch_of(examples, range(6))
    distiller.eval()
    assert torch.isfinite(distiller(**batch).loss)
    assert distiller(**batch).logits.shape == (*batch["input_ids"].shape, len(TAGS))


def test_loss_and_gradients_from_the_cache_equal_the_live_teachers(tmp_path, distiller, examples):
    words = pieces_tokenizer()
    cache = small_cache(tmp_path, distiller.teacher)
    cache.tokenizer = words
    features = cache.features(examples, needed(distiller.objective, logits=logits_for(TASK)))
    collate = CachedCollator(KIND.collator(words, TASK, rows=True, seed=0), features)
    rows = with_rows(examples)
    batch = collate([rows[row] for row in (7, 3, 19, 0, 11)])
    assert batch["teacher_features"]["logits"].dtype == torch.float32
    loss = distiller(**batch).loss
    loss.backward()
    found = [loss.detach(), *(parameter.grad.clone() for parameter in distiller.parameters())]
    distiller.zero_grad()
    del batch["teacher_features"]
    loss = distiller(**batch).loss
    loss.backward()
    live = [loss.detach(), *(parameter.grad for parameter in distiller.parameters())]
    for one, other in zip(found, live, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_cached_logits_give_the_answers_of_the_teacher(tmp_path, distiller, examples):
    cache = small_cache(tmp_path, distiller.teacher)
    cache.tokenizer = pieces_tokenizer()
    kept = cache.features(examples, [logits_for(TASK)]).logits()
    live = KIND.predict(distiller.teacher, examples, pieces_tokenizer(), None, task=TASK, batch_size=4, title="test")
    torch.testing.assert_close(torch.tensor(KIND.of_cached(kept, examples)), torch.tensor(live), rtol=1e-4, atol=1e-5)
