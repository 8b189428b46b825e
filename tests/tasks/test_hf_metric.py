import pytest

from kdfeatures.evaluation.metrics import score
from kdfeatures.tasks.task import Task

evaluate = pytest.importorskip("evaluate")
from kdfeatures.tasks.hf_metric import GlueMetric  # noqa: E402

FACTS = {"text": ("s",), "label": "label", "splits": {"train": "train"}, "dataset": "x/y"}
PARAPHRASE = Task(name="mrpc", labels=("no", "yes"), metrics=("accuracy", "f1"), **FACTS)
SIMILARITY = Task(name="stsb", labels=(), metrics=("pearson", "spearmanr"), **FACTS)


def test_it_returns_the_score_of_the_task():
    predictions, labels = [1, 0, 1, 1], [1, 0, 0, 1]
    metric = GlueMetric(PARAPHRASE)
    assert metric.config_name == "mrpc"
    result = metric.compute(predictions=predictions, references=labels)
    assert result == score(PARAPHRASE.metrics, predictions, labels)


def test_scores_of_a_regression_keep_their_fractions():
    result = GlueMetric(SIMILARITY).compute(predictions=[0.1, 0.2, 0.4], references=[1.5, 2.5, 4.5])
    assert result["pearson"] == pytest.approx(1)


def test_batches_add_up():
    metric = GlueMetric(PARAPHRASE)
    metric.add_batch(predictions=[1, 0], references=[1, 0])
    metric.add_batch(predictions=[1], references=[0])
    assert metric.compute()["accuracy"] == pytest.approx(2 / 3)


def test_it_combines_with_another_task():
    strict = Task(name="strict", labels=("no", "yes"), metrics=("mcc",), **FACTS)
    both = evaluate.combine([GlueMetric(PARAPHRASE), GlueMetric(strict)])
    result = both.compute(predictions=[1, 0], references=[1, 0])
    assert set(result) == {"accuracy", "f1", "combined_score", "mcc"}
