import dataclasses

import numpy as np
import pytest
import torch
from datasets import Dataset, Value
from support.kind_tasks import RELEVANCE as TASK
from support.tagged import pieces_tokenizer
from support.tiny import tiny_config
from transformers import AutoModelForSequenceClassification, EvalPrediction

from kdfeatures.data.load import encode
from kdfeatures.data.subsets import is_labelled, without_labels
from kdfeatures.errors import UserError
from kdfeatures.losses import HardLabel
from kdfeatures.models.load import label_settings
from kdfeatures.tasks.registry import task_type

KIND = task_type(TASK)
GRADED = dataclasses.replace(TASK, metrics=("spearmanr",), scale=5.0)
ROWS = {
    "query": ["who slept", "in york", "who slept", "in york"],
    "passage": ["ada", "alan", "grace", "the garden"],
}


def encoded(labels=(1, 0, 0, 1), task=TASK):
    rows = Dataset.from_dict({**ROWS, "relevant": list(labels)})
    return encode(KIND.checked(rows, task, "train"), pieces_tokenizer(), task, 16)


def test_a_label_is_one_number_and_candidates_share_their_query():
    dataset = encoded()
    assert dataset["labels"][:] == [[1.0], [0.0], [0.0], [1.0]]
    first, second, third, fourth = dataset["query"][:]
    assert first == third != second == fourth
    batch = KIND.collator(pieces_tokenizer(), TASK, rows=True, seed=0)(list(dataset))
    assert batch["labels"].shape == (4, 1) and "query" not in batch


def test_the_model_computes_binary_cross_entropy_as_our_loss_does():
    torch.manual_seed(0)
    config = tiny_config("bert")
    for name, value in label_settings(TASK).items():
        setattr(config, name, value)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    output = model(**KIND.collator(pieces_tokenizer(), TASK, rows=True, seed=0)(list(encoded())))
    assert output.logits.shape == (4, 1) and model.config.num_labels == 1
    targets = torch.tensor([[1.0], [0.0], [0.0], [1.0]])
    expected = -(targets * output.logits.sigmoid().log() + (1 - targets) * (1 - output.logits.sigmoid()).log()).mean()
    torch.testing.assert_close(output.loss, expected)
    torch.testing.assert_close(HardLabel()(output.logits, targets), expected)


def test_grades_are_divided_by_the_scale():
    assert encoded((5, 0, 2.5, 1), GRADED)["labels"][:] == [[1.0], [0.0], [0.5], [pytest.approx(0.2)]]


@pytest.mark.parametrize("loss", ["bce", "mse"])
def test_the_scale_also_holds_for_columns_that_are_floats_already(loss):
    task = dataclasses.replace(GRADED, loss=loss)
    rows = Dataset.from_dict({**ROWS, "relevant": [5.0, -1.0, 2.5, 1.0]}).cast_column("relevant", Value("float32"))
    labels = KIND.labels(encode(KIND.checked(rows, task, "train"), pieces_tokenizer(), task, 16))
    np.testing.assert_allclose(labels, [1.0, np.nan, 0.5, 0.2])


@pytest.mark.parametrize(
    ("label", "task", "told"),
    [
        (
            3,
            TASK,
            "row 2 of split 'train' has the label 3, which is not between 0 and 1; write the largest one as task.scale",
        ),
        (
            0.5,
            TASK,
            "row 2 of split 'train' has the label 0.5, but metric 'mrr' reads 0 and 1; use pearson or spearmanr",
        ),
        (6, GRADED, "has the label 6, which is not between 0 and 1"),
    ],
)
def test_labels_outside_are_named_with_their_row(label, task, told):
    with pytest.raises(UserError, match=told):
        encoded((1, 0, label, 1), task)


def test_hidden_labels():
    assert is_labelled(encoded((1, -1, 0, 1))).tolist() == [True, False, True, True]
    assert not is_labelled(without_labels(encoded())).any()
    rows = Dataset.from_dict(ROWS)
    hidden = KIND.checked(rows.add_column("relevant", KIND.hidden_labels(rows, TASK)), TASK, "test")
    assert not is_labelled(encode(hidden, pieces_tokenizer(), TASK, 16)).any()


def test_scores_go_by_query_whatever_the_order():
    logits = np.array([[2.0], [-1.0], [3.0], [-2.0]], dtype=np.float32)
    scores = KIND.score(logits, encoded(), TASK)
    assert scores["mrr"] == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert scores["auc"] == pytest.approx(1 / 4)  # of 4 pairs, 2 > -1 alone is in order
    output = EvalPrediction(logits, np.array([[1.0], [0.0], [0.0], [1.0]]))
    np.testing.assert_array_equal(KIND.gathered(output, encoded(), TASK), logits)
    assert TASK.predictions_from_logits(logits) == pytest.approx(1 / (1 + np.exp(-logits[:, 0].astype(np.float64))))


def test_rows_are_drawn_anew_only_where_no_query_ties_them_together():
    assert KIND.main_score(TASK) is None
    by_rows = dataclasses.replace(TASK, metrics=("auc",))
    assert KIND.main_score(by_rows)(np.array([0.9, 0.1]), np.array([1, 0])) == 1


@pytest.mark.parametrize("metric", ["mrr", "auc", "accuracy", "average_precision"])
def test_a_teacher_must_beat_equal_scores(metric):
    task = dataclasses.replace(TASK, metrics=(metric,))
    dataset = encoded((1, 0, 0, 0), task)
    assert KIND.no_better(np.zeros((4, 1)), dataset, task).startswith(f"its {metric} is")
    assert KIND.no_better(np.array([[3.0], [-3], [-3], [-3]]), dataset, task) is None


def test_with_squared_error_the_output_is_the_score_itself():
    squared = dataclasses.replace(TASK, loss="mse")
    dataset = encoded((1, 0, -1, 1), squared)
    assert dataset["labels"][:] == [1.0, 0.0, pytest.approx(float("nan"), nan_ok=True), 1.0]
    assert squared.outputs == "score" and TASK.outputs == "labels"
    dataset = encoded((1, 0, 0, 1), squared)
    batch = KIND.collator(pieces_tokenizer(), squared, rows=True, seed=0)(list(dataset))
    assert batch["labels"].shape == (4,)
    logits = np.array([[0.7], [0.2], [0.4], [0.1]], dtype=np.float32)
    assert squared.predictions_from_logits(logits).tolist() == logits[:, 0].tolist()
    assert KIND.score(logits, dataset, squared) == KIND.score(logits, encoded(), TASK)
    config = tiny_config("bert", num_labels=1, problem_type="regression")
    arguments = {"whose": "the teacher", "force": False, "option": "teacher.force"}
    assert KIND.columns(config, squared, **arguments) == [0] and label_settings(squared)["problem_type"] == "regression"
    graded = dataclasses.replace(squared, metrics=("spearmanr",))
    assert encoded((5, 0, 2.5, 1), graded)["labels"][:] == [5.0, 0.0, 2.5, 1.0]
    with pytest.raises(UserError, match="task.loss=bse is unknown"):
        dataclasses.replace(TASK, loss="bse")


def test_a_model_that_was_trained_with_squared_error_is_refused():
    config = tiny_config("bert", num_labels=1, problem_type="regression")
    with pytest.raises(
        UserError, match="has the problem_type regression .* reads outputs as multi_label_classification"
    ):
        KIND.columns(config, TASK, whose="the teacher", force=False, option="teacher.force")
    assert KIND.columns(config, TASK, whose="the teacher", force=True, option="teacher.force") == [0]
    plain = tiny_config("bert", num_labels=1)
    assert KIND.columns(plain, TASK, whose="the teacher", force=False, option="teacher.force") == [0]
