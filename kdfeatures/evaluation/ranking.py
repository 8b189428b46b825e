"""Metrics of relevance: predictions and labels are (examples,), a higher prediction means more relevant.

Where a metric is undefined, as with one class alone, it is 0. Those in BINARY read labels of 0 and 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import scipy

from kdfeatures.evaluation import metrics
from kdfeatures.evaluation.metrics import Metric, pearson, spearmanr

THRESHOLD = 0.5  # of a probability; above it an example counts as relevant
CUT = 10  # of mrr@10


def accuracy_at_half(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples on the right side of a probability of 0.5."""
    return metrics.accuracy(np.asarray(predictions) > THRESHOLD, np.asarray(labels) > THRESHOLD)


def f1_at_half(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 of the relevant ones, those above a probability of 0.5."""
    return metrics.f1(np.asarray(predictions) > THRESHOLD, np.asarray(labels) > THRESHOLD)


def auc(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Area under the ROC curve: the share of pairs, one relevant and one not, that are in the right order; ties half.

    By ranks (Mann and Whitney): (sum of the ranks of the P relevant ones - P (P + 1) / 2) / (P N).
    """
    relevant = np.asarray(labels) > THRESHOLD
    positives, negatives = int(relevant.sum()), int((~relevant).sum())
    if not positives or not negatives:
        return 0.0
    ranks = scipy.stats.rankdata(predictions)
    return float((ranks[relevant].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def average_precision(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the relevant ones of the precision among all ranked at least as high, as scikit-learn has it."""
    from sklearn.metrics import average_precision_score  # which takes half a second to import

    relevant = np.asarray(labels) > THRESHOLD
    return float(average_precision_score(relevant, predictions)) if relevant.any() else 0.0


def mrr(predictions: np.ndarray, labels: np.ndarray, queries: np.ndarray, *, cut: int | None = None) -> float:
    """Mean over the queries with a relevant example of 1 / rank of the best of these; 0 for a rank behind `cut`.

    queries: (examples,), equal for the candidates of one query. A tie with one that is not relevant counts as ranked
    behind it, so that equal scores for all are worth nothing.
    """
    predictions, relevant = np.asarray(predictions, dtype=np.float64), np.asarray(labels) > THRESHOLD
    _, of = np.unique(queries, return_inverse=True)
    best = np.full(of.max() + 1, -np.inf)
    np.maximum.at(best, of[relevant], predictions[relevant])
    ranks = 1 + np.bincount(of, weights=~relevant & (predictions >= best[of]), minlength=len(best))
    answered = np.bincount(of, weights=relevant, minlength=len(best)) > 0
    if not answered.any():
        return 0.0
    worth = np.where(ranks <= (np.inf if cut is None else cut), 1 / ranks, 0.0)
    return float(worth[answered].mean())


METRICS: Mapping[str, Metric] = {
    "accuracy": accuracy_at_half,
    "f1": f1_at_half,
    "auc": auc,
    "average_precision": average_precision,
    "pearson": pearson,
    "spearmanr": spearmanr,
}
# of the candidates of a query together, so that they need to be told which belong together
BY_QUERY: Mapping[str, Callable[..., float]] = {"mrr": mrr, f"mrr@{CUT}": lambda *args: mrr(*args, cut=CUT)}
BINARY = frozenset({"accuracy", "f1", "auc", "average_precision", *BY_QUERY})
