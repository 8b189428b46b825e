"""Time things against each other: they alternate, so that whatever else the machine does hits all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Spread(NamedTuple):
    """The median of some rounds, and their 20th and 80th percentiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        cuts = statistics.quantiles(values, n=5)
        return cls(statistics.median(values), cuts[0], cuts[-1])


def alternating_seconds(
    variants: Mapping[str, Callable[[], object]], *, rounds: int, warm_ups: int
) -> dict[str, list[float]]:
    """Return the wall-clock seconds of every variant in every round, after `warm_ups` rounds that do not count.

    Each round begins with another variant: what runs before (its freed memory, its cache lines) shifts a time.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for step in range(warm_ups + rounds):
        names = names[1:] + names[:1]
        for name in names:
            start = time.perf_counter()
            variants[name]()
            if step >= warm_ups:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> Spread:
    """Return the spread over rounds of one series over another: a ratio within a round, then the median."""
    return Spread.of([numerator / denominator for numerator, denominator in zip(numerators, denominators, strict=True)])
