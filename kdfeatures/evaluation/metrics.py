"""GLUE's metrics as plain functions of predictions and labels, and all of a task's at once.

Every metric takes two arrays of shape (examples,) and returns a float. Where a metric is undefined, as a
correlation with a constant is, it returns 0 without a warning, so that a collapsed model can be logged.
The class metrics are written out because a bootstrap calls them thousands of times: scikit-learn checks its
arguments for milliseconds at every call.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import scipy

from kdfeatures.errors import UserError, nearest

Metric = Callable[[np.ndarray, np.ndarray], float]


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of predictions that equal the label."""
    return float(np.mean(np.asarray(predictions) == np.asarray(labels)))


def mcc(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Matthews correlation of K >= 2 classes, Gorodkin (2004) R_K; 0 when predictions or labels are constant.

    (c n - p.y) / sqrt((n^2 - p.p) (n^2 - y.y)), c correct of n examples, p and y the counts of each class.
    """
    counts = _confusion(predictions, labels).astype(np.float64)
    correct, total, predicted, true = np.trace(counts), counts.sum(), counts.sum(axis=0), counts.sum(axis=1)
    spread = (total**2 - predicted @ predicted) * (total**2 - true @ true)
    return float((correct * total - predicted @ true) / np.sqrt(spread)) if spread > 0 else 0.0


def f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 of class 1, as GLUE has it for MRPC and QQP; unlike f1_macro it leaves out class 0.

    2 tp / (predicted + true), 0 when class 1 is neither predicted nor true.
    """
    predicted, true = np.asarray(predictions) == 1, np.asarray(labels) == 1
    return float(2 * (predicted & true).sum() / max(predicted.sum() + true.sum(), 1))


def f1_macro(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean of the F1 of every class that occurs in the labels or the predictions."""
    counts = _confusion(predictions, labels)
    return float(np.mean(2 * np.diag(counts) / (counts.sum(axis=0) + counts.sum(axis=1))))


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Linear correlation of predicted and true scores."""
    if _is_constant(predictions) or _is_constant(labels):
        return 0.0
    # scipy would keep float32, too coarse for the outputs of a fresh model, which hardly vary
    doubles = (np.asarray(values, dtype=np.float64) for values in (predictions, labels))
    return float(scipy.stats.pearsonr(*doubles).statistic)


def spearmanr(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Correlation of the ranks of predicted and true scores, ties sharing their mean rank."""
    if _is_constant(predictions) or _is_constant(labels):
        return 0.0
    return float(scipy.stats.spearmanr(predictions, labels).statistic)


METRICS: dict[str, Metric] = {
    "accuracy": accuracy,
    "mcc": mcc,
    "f1": f1,
    "f1_macro": f1_macro,
    "pearson": pearson,
    "spearmanr": spearmanr,
}
REGRESSION_METRICS = frozenset({"pearson", "spearmanr"})


def score(
    metrics: Sequence[str], predictions: np.ndarray, labels: np.ndarray, known: Mapping[str, Metric] = METRICS
) -> dict[str, float]:
    """Return name -> value for each metric of those known, and their mean as `combined_score` when there are several.

    Raises UserError for an unknown metric, for lengths that differ, for no examples at all, and for hidden
    labels (-1 and -100 for classes, NaN for scores), which a test split of GLUE has.
    """
    predictions, labels = np.asarray(predictions), np.asarray(labels)
    unknown = next((name for name in metrics if name not in known), None)
    if unknown is not None:
        raise UserError(f"unknown metric '{unknown}'{nearest(unknown, known)} (known: {', '.join(known)})")
    if predictions.shape != labels.shape or not predictions.size:
        raise UserError(
            f"predictions {predictions.shape} cannot be scored against labels {labels.shape}; both must have one "
            "shape, with at least one example"
        )
    _refuse_hidden(labels, scores=labels.dtype.kind == "f" or bool(REGRESSION_METRICS.intersection(metrics)))
    result = {name: known[name](predictions, labels) for name in metrics}
    if len(result) > 1:
        result["combined_score"] = float(np.mean(list(result.values())))
    return result


def _confusion(predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return counts (true class, predicted class) over the classes that occur."""
    labels, predictions = np.asarray(labels), np.asarray(predictions)
    classes, ids = np.unique(np.concatenate([labels, predictions]), return_inverse=True)
    pairs = ids[: len(labels)] * len(classes) + ids[len(labels) :]
    return np.bincount(pairs, minlength=len(classes) ** 2).reshape(len(classes), len(classes))


def _is_constant(values: np.ndarray) -> bool:
    return bool(np.ptp(values) == 0)


def _refuse_hidden(labels: np.ndarray, *, scores: bool) -> None:
    unknown = np.isnan(labels) if scores else labels < 0
    hidden = int((unknown.any(axis=1) if unknown.ndim > 1 else unknown).sum())
    if hidden:
        raise UserError(
            f"{hidden} of {len(labels)} labels are hidden, so there is nothing to score them against; "
            "use a split with labels, such as validation"
        )
