import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score

from kdfeatures.evaluation.multilabel import METRICS


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_metrics_are_those_of_scikit_learn(share):
    random = np.random.default_rng(7)
    for _ in range(20):
        labels, predictions = (random.random((2, 13, 4)) < share).astype(int)
        labels[:, 2] = 0  # a label that is never true
        expected = {
            "f1_micro": f1_score(labels, predictions, average="micro", zero_division=0),
            "f1_macro": f1_score(labels, predictions, average="macro", zero_division=0),
            "accuracy": accuracy_score(labels, predictions),
        }
        assert {name: metric(predictions, labels) for name, metric in METRICS.items()} == pytest.approx(expected)


def test_by_hand():
    labels, predictions = np.array([[1, 0], [1, 1]]), np.array([[1, 1], [0, 1]])
    assert METRICS["f1_micro"](predictions, labels) == pytest.approx(2 * 2 / (3 + 3))
    assert METRICS["f1_macro"](predictions, labels) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert METRICS["accuracy"](predictions, labels) == 0
    assert METRICS["f1_micro"](np.zeros((2, 2)), np.zeros((2, 2))) == 0
