"""How sure is a score: percentile bootstrap over the examples (Efron, 1979), single and paired."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from kdfeatures.errors import UserError
from kdfeatures.evaluation.metrics import Metric


def bootstrap_interval(
    metric: Metric,
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Return (low, high), the central `level` of the metric over resamples of the examples.

    It speaks of the examples only: how much another training seed would change the score is not in it.
    Raises UserError for arrays of different length and a level outside (0, 1).
    """
    one = np.asarray(predictions)[None]
    return seeds_interval(metric, one, labels, level=level, resamples=resamples, seed=seed)


def seeds_interval(
    metric: Metric,
    predictions: np.ndarray,
    labels: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """As `bootstrap_interval` for runs over several seeds, (seeds, examples): of the mean over seeds.

    Seeds are drawn anew as well as examples, so the interval speaks of both; of few seeds it is too narrow. Raises
    UserError as `bootstrap_interval` does.
    """
    by_example, labels = _aligned(np.moveaxis(np.asarray(predictions), 0, 1), labels)
    by_seed = np.random.default_rng((seed, 1))
    seeds: int = by_example.shape[1]

    def value(rows: np.ndarray) -> float:
        truth = labels[rows]
        return float(np.mean([metric(by_example[rows, n], truth) for n in by_seed.integers(seeds, size=seeds)]))

    return _interval(value, len(labels), level, resamples, seed)


def paired_bootstrap(
    metric: Metric,
    predictions_a: np.ndarray,
    predictions_b: np.ndarray,
    labels: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """Return (difference, low, high) of metric(a) - metric(b), both on the same resampled examples.

    Unlike two single intervals it cancels what is hard or easy for both, so it is far narrower for models
    that agree on most examples. Raises UserError as `bootstrap_interval` does.
    """
    a, b, labels = _aligned(predictions_a, predictions_b, labels)

    def difference(rows: np.ndarray | slice) -> float:
        return metric(a[rows], labels[rows]) - metric(b[rows], labels[rows])

    return difference(slice(None)), *_interval(difference, len(labels), level, resamples, seed)


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
    """As `paired_bootstrap` for runs over several seeds, (seeds, examples): the difference of the means over seeds.

    Seeds are drawn anew as well as examples, the same ones for a and b, so the interval speaks of both; with one seed
    it is that of `paired_bootstrap`. Runs of one seed are paired. Raises UserError as the others do.
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
    a, b = np.asarray(predictions_a), np.asarray(predictions_b)
    _aligned(a, b)
    a, b, labels = _aligned(np.moveaxis(a, 0, 1), np.moveaxis(b, 0, 1), labels)
    by_seed = np.random.default_rng((seed, 1))
    seeds: int = a.shape[1]

    def difference(rows: np.ndarray | slice, drawn: np.ndarray) -> float:
        truth = labels[rows]
        return float(np.mean([metric(a[rows, n], truth) - metric(b[rows, n], truth) for n in drawn]))

    def value(rows: np.ndarray) -> float:
        return difference(rows, by_seed.integers(seeds, size=seeds))

    drawn = [value(rows) for rows in _resampled_rows(len(labels), resamples, seed)]
    return difference(slice(None), np.arange(seeds)), np.array(drawn)


def central(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Return (low, high), the central `level` of resampled values."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _interval(
    statistic: Callable[[np.ndarray], float], examples: int, level: float, resamples: int, seed: int
) -> tuple[float, float]:
    _check_level(level)
    return central(np.array([statistic(rows) for rows in _resampled_rows(examples, resamples, seed)]), level)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise UserError(f"level must lie between 0 and 1, got {level}; 0.95 is usual")


def _resampled_rows(examples: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        yield generator.integers(examples, size=examples)


def _aligned(*values: np.ndarray) -> list[np.ndarray]:
    arrays = [np.asarray(array) for array in values]
    if len({len(array) for array in arrays}) != 1 or not len(arrays[0]):
        lengths = ", ".join(str(len(array)) for array in arrays)
        raise UserError(f"predictions and labels must be as many, and at least one; got {lengths}")
    return arrays
