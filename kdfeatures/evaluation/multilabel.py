"""Metrics of independent labels: each text has any number of them.

Both arrays are (examples, C), 0 or 1. As scikit-learn has them, with 0 where F1 is undefined; written out because a
bootstrap calls them thousands of times.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from kdfeatures.evaluation.metrics import Metric


def subset_accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of examples of which every label is right."""
    return float((np.asarray(predictions) == np.asarray(labels)).all(axis=1).mean())


def micro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """F1 over all pairs of an example and a label: 2 tp / (predicted + true), 0 where neither is."""
    right, counted = _counts(predictions, labels)
    return float(2 * right.sum() / max(counted.sum(), 1))


def macro_f1(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the C labels of their F1, 0 for one that is neither predicted nor true."""
    right, counted = _counts(predictions, labels)
    return float(np.mean(2 * right / np.maximum(counted, 1)))


METRICS: Mapping[str, Metric] = {"f1_micro": micro_f1, "f1_macro": macro_f1, "accuracy": subset_accuracy}


def _counts(predictions: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return true positives, and predicted plus true ones, of each label, (C,)."""
    predicted, true = np.asarray(predictions) > 0, np.asarray(labels) > 0
    return (predicted & true).sum(axis=0), predicted.sum(axis=0) + true.sum(axis=0)
