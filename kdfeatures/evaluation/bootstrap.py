"""How sure is a score: scipy's percentile bootstrap (Efron, 1979), over the examples and the seeds of training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy

from kdfeatures.errors import UserError
from kdfeatures.evaluation.metrics import Metric

AT_ONCE = 16  # resamples: scipy is slow one by one, and the rows of all of a large split would take gigabytes


def seeds_interval(
    metric: Metric,
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return (low, high), the central `level` of a metric's mean over seeds, of runs (seeds, examples).

    Seeds are drawn anew as well as examples, so the interval speaks of both; of few seeds it is too narrow, and of one
    it speaks of the examples only.
    Raises UserError for arrays of different length and a level outside (0, 1).
    """
    _check_level(level)
    (runs,), labels = _aligned([predictions], labels)

    def mean(rows: np.ndarray, seeds: np.ndarray) -> float:
        truth = labels[rows]
        return float(np.mean([metric(runs[run, rows], truth) for run in seeds]))

    return central(_resampled(mean, len(labels), len(runs), resamples, seed), level)


def seeds_bootstrap(
    metric: Metric,
    predictions_a: np.ndarray,
    predictions_b: np.ndarray,
    labels: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return (difference, low, high) of the means over seeds of metric(a) - metric(b), of runs (seeds, examples).

    Both are scored on the same resampled examples and seeds: runs of one seed are paired. Unlike two single intervals
    it cancels what is hard or easy for both, so it is far narrower for models that agree on most examples.
    Raises UserError as `seeds_interval` does.
    """
    _check_level(level)
    difference, drawn = seeds_resamples(metric, predictions_a, predictions_b, labels, resamples=resamples, seed=seed)
    return difference, *central(drawn, level)


def seeds_resamples(
    metric: Metric,
    predictions_a: np.ndarray,
    predictions_b: np.ndarray,
    labels: np.ndarray,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, np.ndarray]:
    """Return the difference of `seeds_bootstrap` and its values over the resamples, (resamples,), not yet sorted.

    The mean over tasks of such values, drawn with another seed for each task, gives the interval of an average.
    """
    (a, b), labels = _aligned([predictions_a, predictions_b], labels)

    def difference(rows: np.ndarray, seeds: np.ndarray) -> float:
        truth = labels[rows]
        return float(np.mean([metric(a[run, rows], truth) - metric(b[run, rows], truth) for run in seeds]))

    whole = difference(np.arange(len(labels)), np.arange(len(a)))
    return whole, _resampled(difference, len(labels), len(a), resamples, seed)


def central(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return (low, high), the central `level` of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled(
    statistic: Callable[[np.ndarray, np.ndarray], float], examples: int, seeds: int, resamples: int, seed: int
) -> np.ndarray:
    """Return statistic(rows, seeds), of rows and seeds that are drawn with replacement, each apart, (resamples,)."""
    # scipy refuses a sample of one: an only example is given twice, which has the same score, an only seed not drawn
    rows, every_seed = np.arange(examples).repeat(2 if examples == 1 else 1), np.arange(seeds)
    values: np.ndarray = scipy.stats.bootstrap(
        [rows, every_seed] if seeds > 1 else [rows],
        lambda rows, drawn=every_seed: statistic(rows, drawn),
        n_resamples=resamples,
        batch=AT_ONCE,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).bootstrap_distribution
    return values


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"level must lie between 0 and 1, got {level}; 0.95 is usual")


def _aligned(runs: list[np.ndarray], labels: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return runs, (seeds, examples) each, and labels, (examples,), as arrays."""
    arrays, labels = [np.asarray(run) for run in runs], np.asarray(labels)
    _check_alike([len(array) for array in arrays], "runs")
    _check_alike([*(array.shape[1] for array in arrays), len(labels)], "predictions and labels")
    return arrays, labels


def _check_alike(counts: list[int], what: str) -> None:
    if len(set(counts)) != 1 or not counts[0]:
        raise UserError(f"{what} must be as many, and at least one; got {', '.join(map(str, counts))}")
