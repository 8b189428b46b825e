import dataclasses

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset, Features, List, Value
from support.kind_tasks import MULTILABEL as TASK
from support.tagged import pieces_tokenizer
from support.tiny import tiny_config
from transformers import AutoModelForSequenceClassification, EvalPrediction

from kdfeatures.data.load import encode
from kdfeatures.data.subsets import hide_labels, is_labelled, without_labels
from kdfeatures.errors import UserError
from kdfeatures.losses import HardLabel
from kdfeatures.models.load import label_settings
from kdfeatures.tasks.registry import task_type

KIND = task_type(TASK)
ONE_HOT = dataclasses.replace(TASK, label=None)
JOINED = dataclasses.replace(TASK, separator="|")
TEXTS = ["ada met alan", "in york", "the garden"]


def checked(labels, task=TASK, **columns):
    column = {} if labels is None else {"labels": labels}
    return KIND.checked(KIND.with_labels(Dataset.from_dict({"text": TEXTS, **column, **columns}), task), task, "train")


def given(dataset):
    return np.nan_to_num(np.array(dataset["labels"][:]), nan=-1).tolist()


EXPECTED = [[1, 0, 1], [0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        ([["person", "sleep"], ["place"], []], TASK),
        ([[0, 2], [1], []], TASK),
        ([["sleep", "person"], ["Place"], []], dataclasses.replace(TASK, labels=("person", "Place", "sleep"))),
        (["person|sleep", "place", ""], JOINED),
        (["sleep|person|", " place ", " "], JOINED),
    ],
)
def test_labels_may_be_lists_of_names_or_ids_or_one_string(labels, task):
    assert given(checked(labels, task)) == EXPECTED


def test_class_labels_are_matched_by_name():
    names = ["place", "sleep", "person"]
    features = Features({"text": Value("string"), "labels": List(ClassLabel(names=names))})
    dataset = Dataset.from_dict({"text": TEXTS, "labels": [[2, 1], [0], []]}, features=features)
    assert given(KIND.checked(dataset, TASK, "train")) == EXPECTED
    other = Features({"text": Value("string"), "labels": List(ClassLabel(names=["place", "sleep", "people"]))})
    with pytest.raises(
        UserError, match="have the labels place, sleep, people, but task.labels is person, place, sleep"
    ):
        KIND.checked(dataset.cast(other), TASK, "train")


@pytest.mark.parametrize(("yes", "no"), [(1, 0), (True, False), ("1", "0"), ("true", ""), (1.0, 0.0)])
def test_a_column_for_each_label(yes, no):
    columns = {label: [yes if row[n] else no for row in EXPECTED] for n, label in enumerate(TASK.labels)}
    dataset = checked(None, ONE_HOT, **columns)
    assert given(dataset) == EXPECTED and dataset.column_names == ["text", "labels"]


def test_what_is_hidden_is_hidden_as_a_whole():
    assert given(checked([None, [1], [-1]])) == [[-1] * 3, [0, 1, 0], [-1] * 3]
    columns = {"person": [-1, 0, 1], "place": [-1, 1, 1], "sleep": [-1, 0, 1]}
    dataset = encode(checked(None, ONE_HOT, **columns), pieces_tokenizer(), ONE_HOT, 16)
    assert is_labelled(dataset).tolist() == [False, True, True]
    assert not is_labelled(without_labels(dataset)).any()
    assert is_labelled(hide_labels(dataset, 1, seed=0)).sum() == 1
    with pytest.raises(UserError, match="row 0 has -1 in the column 'place'; a label's column holds 0 or 1"):
        checked(None, ONE_HOT, person=[1, 0, 0], place=[-1, 0, 0], sleep=[0, 0, 0])


@pytest.mark.parametrize(
    ("labels", "task", "told"),
    [
        ([["people"], [], []], TASK, r"row 0 of split 'train' has the label 'people'; .* takes person, place, sleep"),
        ([["person"], [7], []], TASK, "row 1 .* has the label 7"),
        (["person,place", "", ""], TASK, r"it holds several, so write task.separator=','"),
        (["person", "place", "person sleep"], TASK, r"row 2 .* write task.separator=' '"),
        (["['person', 'place']", "", ""], TASK, "a list in a CSV is a string, so write A.B and task.separator"),
        ([1.5, 0.0, 0.0], TASK, "row 0 .* has the labels 1.5; .* takes lists of labels"),
    ],
)
def test_labels_that_do_not_fit_are_named_with_their_row(labels, task, told):
    if labels[1] == [7]:
        labels = [[0], [7], []]
    with pytest.raises(UserError, match=told):
        checked(labels, task)


def test_a_missing_column_is_named():
    with pytest.raises(UserError, match="a column for the label person, but none for place; did you mean 'plase'"):
        checked(None, ONE_HOT, person=[1, 0, 0], plase=[0, 0, 0], sleep=[0, 0, 0])


def test_encoded_labels_make_a_model_compute_the_loss_that_ours_does():
    torch.manual_seed(0)
    config = tiny_config("bert")
    for name, value in label_settings(TASK).items():
        setattr(config, name, value)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    dataset = encode(checked([["person", "sleep"], ["place"], []]), pieces_tokenizer(), TASK, 16)
    batch = KIND.collator(pieces_tokenizer(), TASK, rows=True, seed=0)(list(dataset))
    assert batch["labels"].tolist() == EXPECTED
    output = model(**batch)
    assert config.problem_type == "multi_label_classification"
    torch.testing.assert_close(HardLabel()(output.logits, batch["labels"]), output.loss)


def test_predictions_are_above_a_half_and_scores_are_those_of_scikit_learn():
    dataset = encode(checked([["person", "sleep"], ["place"], []]), pieces_tokenizer(), TASK, 16)
    logits = np.array([[2.0, -1, -0.1], [0.0, 0.5, 9], [-1, -1, -1]], dtype=np.float32)
    assert TASK.predictions_from_logits(logits).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    scores = KIND.score(logits, dataset, TASK)
    assert scores["f1_micro"] == pytest.approx(2 * 2 / (3 + 3))
    assert scores["f1_macro"] == pytest.approx((1 + 1 + 0) / 3)
    assert scores["combined_score"] == pytest.approx((2 / 3 + 2 / 3) / 2)
    output = EvalPrediction(logits, np.array(EXPECTED, dtype=np.float32))
    np.testing.assert_array_equal(KIND.gathered(output, dataset, TASK), logits)
    rows = list(KIND.predictions(logits, dataset, TASK))
    assert [row["prediction"] for row in rows] == ["person", "place|sleep", ""]
    assert KIND.main_score(TASK)(TASK.predictions_from_logits(logits), KIND.labels(dataset)) == scores["combined_score"]


def test_hidden_labels_are_not_scored():
    dataset = encode(checked([None, ["place"], []]), pieces_tokenizer(), TASK, 16)
    with pytest.raises(UserError, match="1 of 3 labels are hidden"):
        KIND.score(np.zeros((3, 3)), dataset, TASK)


def test_a_teacher_must_beat_the_best_constant_set():
    dataset = encode(checked([["person", "sleep"], ["person"], ["person"]]), pieces_tokenizer(), TASK, 16)
    most = np.tile([[1.0, -1, -1]], (3, 1))
    told = KIND.no_better(most, dataset, TASK)
    assert told == "its f1_micro is 85.7, that of always answering the best one set of labels 85.7"
    right = np.array([[1.0, -1, 1], [1, -1, -1], [1, -1, -1]])
    assert KIND.no_better(right, dataset, TASK) is None


@pytest.mark.parametrize(
    ("trained_as", "is_taken"),
    [(None, True), ("multi_label_classification", True), ("single_label_classification", False)],
)
def test_a_model_that_was_trained_for_one_class_is_refused(trained_as, is_taken):
    config = tiny_config("bert", num_labels=3, problem_type=trained_as)
    config.id2label = {0: "sleep", 1: "person", 2: "place"}
    arguments = {"whose": "the teacher x", "option": "teacher.force"}
    assert KIND.columns(config, TASK, force=True, **arguments) == [1, 2, 0]
    if is_taken:
        assert KIND.columns(config, TASK, force=False, **arguments) == [1, 2, 0]
        return
    with pytest.raises(UserError, match="the teacher x has the problem_type single_label_classification"):
        KIND.columns(config, TASK, force=False, **arguments)


def test_zeros_and_ones_for_each_label_are_not_ids():
    with pytest.raises(UserError, match=r"row 1 .* has the labels \[0, 1, 0\], in which 0 comes twice; a list holds"):
        checked([[0, 1, 2], [0, 1, 0], [1]])
    assert given(checked([["person", "person"], [], []]))[0] == [1, 0, 0]
