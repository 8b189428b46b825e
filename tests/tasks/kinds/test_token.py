import dataclasses

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from support.tagged import TAGS, TASK, pieces_tokenizer, sentences
from support.tiny import tiny_config
from transformers import AutoModelForTokenClassification, EvalPrediction

from kdfeatures.data.load import encode
from kdfeatures.data.subsets import hide_labels, is_labelled, subset, without_labels
from kdfeatures.errors import UserError
from kdfeatures.evaluation.entity_f1 import entity_f1
from kdfeatures.tasks.registry import task_type

KIND = task_type(TASK)
SENTENCE = {"tokens": ["Ada", "Lovelace", "met", "sleepless", "hopper"], "tags": ["B-PER", "I-PER", "O", "O", "B-PER"]}


def checked(rows, task=TASK):
    return KIND.checked(Dataset.from_list(rows), task, "train")


def encoded(rows=(SENTENCE,), max_length=32):
    return encode(checked(list(rows)), pieces_tokenizer(), TASK, max_length)


def tiny_tagger(**more):
    config = tiny_config("bert", num_labels=len(TAGS), **more)
    return AutoModelForTokenClassification.from_config(config).eval()


def test_a_label_stands_at_the_first_piece_of_its_word():
    (row,) = encoded()
    words = pieces_tokenizer().convert_ids_to_tokens(row["input_ids"])
    assert words == ["[CLS]", "ada", "love", "##lace", "met", "sleep", "##less", "hop", "##per", "[SEP]"]
    assert row["labels"] == [-100, 1, 2, -100, 0, 0, -100, 1, -100, -100]
    assert set(row) == {"input_ids", "attention_mask", "token_type_ids", "labels"}


@pytest.mark.parametrize("as_ids", [True, False])
def test_labels_may_be_names_ids_or_class_labels(as_ids):
    ids = [TAGS.index(tag) for tag in SENTENCE["tags"]]
    named = checked([SENTENCE])
    given = checked([SENTENCE | {"tags": ids}]) if as_ids else KIND.checked(named, TASK, "train")
    assert given["tags"][:] == named["tags"][:] == [ids]
    assert given.features["tags"] == List(ClassLabel(names=list(TAGS)))


def test_words_behind_max_length_are_cut_off_and_are_not_scored():
    dataset = encoded(max_length=6)
    assert dataset["labels"][0] == [-100, 1, 2, -100, 0, -100]
    assert KIND.labels(dataset).tolist() == [1, 2, 0]


@pytest.mark.parametrize("at", [0, 2, 5])
def test_a_word_that_the_tokenizer_drops_is_read_as_unknown(at):
    words, tags = list(SENTENCE["tokens"]), list(SENTENCE["tags"])
    words.insert(at, "\x00")
    tags.insert(at, "B-LOC")
    dataset = encoded([{"tokens": words, "tags": tags}])
    assert KIND.labels(dataset).tolist() == [TAGS.index(tag) for tag in tags]
    assert dataset["input_ids"][0].count(pieces_tokenizer().unk_token_id) == 1


def test_a_padded_batch_tells_which_tokens_begin_a_word_also_where_labels_are_hidden():
    rows = [SENTENCE, {"tokens": ["ada", "turing"], "tags": [-1, "I-PER"]}]
    short = Dataset.from_list([{"tokens": ["ada", "turing"], "tags": [-1, 2]}])
    examples = [*encoded(rows[:1]), *encode(KIND.checked(short, TASK, "train"), pieces_tokenizer(), TASK, 32)]
    batch = KIND.collator(pieces_tokenizer(), TASK, rows=True, seed=0)(examples)
    assert batch["rows"].sum(1).tolist() == [5, 2]
    assert batch["labels"][1].tolist() == [-100, -100, 2, *[-100] * 7]
    assert torch.equal(batch["rows"][1].nonzero()[:, 0], torch.tensor([1, 2]))
    assert "rows" not in KIND.collator(pieces_tokenizer(), TASK, rows=False, seed=0)(examples)


def test_few_labels_are_those_of_whole_sentences_and_the_others_stay_as_a_pool():
    dataset = encoded(sentences(40, 0))
    few = hide_labels(dataset, 10, seed=1)
    assert is_labelled(few).sum() == 10 and len(few) == 40
    assert not is_labelled(without_labels(dataset)).any()
    for before, after, shown in zip(dataset["labels"], few["labels"], is_labelled(few), strict=True):
        assert after == (before if shown else [min(label, -1) if label != -100 else -100 for label in before])
    assert len(subset(dataset, 7, 1)) == 7


def test_answers_are_those_of_each_sentence_alone_in_order():
    dataset, model = encoded(sentences(9, 1)), tiny_tagger()
    found = KIND.predict(model, dataset, pieces_tokenizer(), [4, 3, 2, 1, 0], task=TASK, batch_size=4, title="test")
    with torch.no_grad():
        expected = [
            model(input_ids=torch.tensor([row["input_ids"]])).logits[0][torch.tensor(row["labels"]) != -100]
            for row in dataset
        ]
    np.testing.assert_allclose(found, torch.cat(expected).flip(1).numpy(), atol=1e-5)
    tokens = torch.cat([model(input_ids=torch.tensor([row["input_ids"]])).logits[0] for row in dataset])
    np.testing.assert_allclose(KIND.of_cached(tokens.detach().numpy(), dataset)[:, ::-1], found, atol=1e-5)


def test_scores_leave_out_words_without_label_and_know_the_sentences():
    rows = [{"tokens": ["ada", "turing", "met"], "tags": [1, 2, -1]}, {"tokens": ["turing"], "tags": [1]}]
    dataset = encode(checked(rows), pieces_tokenizer(), TASK, 32)
    task = dataclasses.replace(TASK, metrics=("accuracy", "entity_f1"))
    answers = np.eye(5)[[1, 2, 4, 2]]
    scores = KIND.score(answers, dataset, task)
    assert scores["accuracy"] == pytest.approx(2 / 3)
    assert scores["entity_f1"] == 1.0  # an I-PER at the beginning of a sentence begins an entity
    assert scores["combined_score"] == pytest.approx((2 / 3 + 1) / 2)


def test_the_trainers_padded_arrays_give_the_same_answers():
    dataset = encoded(sentences(12, 3))
    labels = [np.array(row) for row in dataset["labels"]]
    logits = [np.random.default_rng(i).normal(size=(len(own), 5)) for i, own in enumerate(labels)]
    longest = max(map(len, labels))
    padded = np.full((12, longest, 5), -100.0), np.full((12, longest), -100)
    for row, (own, truth) in enumerate(zip(logits, labels, strict=True)):
        padded[0][row, : len(own)], padded[1][row, : len(truth)] = own, truth
    answers = np.concatenate([own[truth != -100] for own, truth in zip(logits, labels, strict=True)])
    task = dataclasses.replace(TASK, metrics=("entity_f1", "f1_macro"))
    gathered = KIND.gathered(EvalPrediction(*padded), dataset, task)
    np.testing.assert_array_equal(gathered, answers)
    found = KIND.score(gathered, dataset, task)
    truth, lengths = KIND.labels(dataset), [(own != -100).sum() for own in labels]
    assert found["entity_f1"] == entity_f1(answers.argmax(1), truth, tags=TAGS, lengths=lengths)


def test_predictions_name_text_word_and_class():
    dataset = encoded([SENTENCE, {"tokens": ["bath"], "tags": ["O"]}])
    found = list(KIND.predictions(np.eye(5)[[1, 2, 0, 0, 1, 3]], dataset, TASK))
    assert [(row["index"], row["word"]) for row in found] == [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (1, 0)]
    assert [row["prediction"] for row in found] == ["B-PER", "I-PER", "O", "O", "B-PER", "B-LOC"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"tokens": "ada met"}, "column 'tokens' of split 'train' must hold a list of words for each text"),
        ({"tags": "O"}, "column 'tags' of split 'train' must hold a list of labels for each text"),
        ({"tokens": [1, 2, 3, 4, 5]}, "must hold lists of words (strings)"),
        ({"tags": ["O"]}, "row 0 of split 'train' has 5 words and 1 labels"),
        ({"tags": ["O", "O", "O", "O", "B-PRE"]}, "has the label 'B-PRE'; task 'names' takes O, B-PER"),
        ({"tags": [0, 0, 0, 0, 5]}, "has the label 5"),
    ],
)
def test_rows_that_do_not_fit_are_refused(row, told):
    with pytest.raises(UserError) as caught:
        checked([SENTENCE | row])
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_empty_rows_are_refused_with_their_number():
    with pytest.raises(UserError, match="row 1 of split 'train' has 0 words and 0 labels"):
        checked([SENTENCE, {"tokens": [], "tags": []}])


def test_class_names_in_another_order_are_matched_by_name():
    features = Features(tokens=List(Value("string")), tags=List(ClassLabel(names=TAGS[::-1])))
    given = Dataset.from_list([SENTENCE], features=features)
    checked = KIND.checked(given, TASK, "train")
    names = checked.features["tags"].feature.names
    assert names == list(TAGS)
    assert [names[n] for n in checked["tags"][0]] == [TAGS[::-1][n] for n in given["tags"][0]]


def test_other_class_names_are_refused():
    features = Features(tokens=List(Value("string")), tags=List(ClassLabel(names=[*TAGS, "X"])))
    with pytest.raises(UserError, match="have the classes .*, X, but task.labels is .*; make them equal"):
        KIND.checked(Dataset.from_list([SENTENCE], features=features), TASK, "train")


def test_a_max_length_without_room_for_a_word_is_refused():
    with pytest.raises(UserError, match="max_length=2 leaves no room for words beside 2 special tokens"):
        encoded(max_length=2)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"kind": "token"}, "unknown kind 'token'; did you mean 'tokens'"),
        ({"text": ("a", "b")}, "give task.text one, as kind tokens has it"),
        ({"labels": ()}, "of kind tokens has no labels"),
        (
            {"labels": ("NOUN", "VERB")},
            "'entity_f1' reads the labels O, B-TYPE and I-TYPE, but task 'names' has 'NOUN'",
        ),
        ({"kind": "sequence"}, "unknown metric 'entity_f1'"),
        ({"metrics": ("pearson",)}, "'pearson' does not fit"),
    ],
)
def test_a_task_that_contradicts_its_kind_is_refused(change, told):
    with pytest.raises(UserError) as caught:
        dataclasses.replace(TASK, **change)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_whether_a_tagger_is_better_than_one_class_is_asked_of_known_words_alone():
    person, outside = TAGS.index("B-PER"), TAGS.index("O")
    dataset = encoded([SENTENCE | {"tags": [person, -1, outside, outside, -1]}])
    classes = [person, 0, outside, outside, 0]
    right = np.eye(len(TAGS), dtype=np.float32)[classes]
    assert KIND.no_better(right, dataset, TASK) is None
    assert KIND.no_better(right[[2] * 5], dataset, TASK) is not None
