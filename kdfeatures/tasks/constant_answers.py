"""Whether a model answers better than one that always says the same: one that does not has nothing to teach."""

from __future__ import annotations

import numpy as np

from kdfeatures.evaluation.metrics import METRICS, score
from kdfeatures.tasks.task import Task


def no_better_than_one_class(predictions: np.ndarray, labels: np.ndarray, task: Task) -> str | None:
    """Return in words why class ids are no better than always the same one, by the task's main metric; None if they
    are.

    So a teacher of rare classes is judged by what it is for; entities by macro F1 of their words.
    """
    right = _main_score(predictions, labels, task)
    constant = max(_main_score(np.full_like(labels, n), labels, task) for n in range(len(task.labels)))
    return compared(str(task.main_metric), right, constant, "answering the best one class")


def no_better_than_the_mean(predictions: np.ndarray, labels: np.ndarray) -> str | None:
    """Return the same for scores, by squared error, so that a model on another scale is noticed as well."""
    error, constant = np.mean((predictions - labels) ** 2), np.var(labels)
    if error < constant:
        return None
    return f"its squared error is {error:.3f}, that of always answering the mean {constant:.3f}"


def compared(metric: str, right: float, constant: float, of_constant: str) -> str | None:
    """Return what is wrong with a score, a fraction, that is not above that of a constant."""
    if right > constant:
        return None
    return f"its {metric} is {100 * right:.1f}, that of always {of_constant} {100 * constant:.1f}"


def _main_score(predictions: np.ndarray, labels: np.ndarray, task: Task) -> float:
    metrics = [metric if metric in METRICS else "f1_macro" for metric in task.metrics]
    scores = score(list(dict.fromkeys(metrics)), predictions, labels)
    return scores.get("combined_score", next(iter(scores.values())))
