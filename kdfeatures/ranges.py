"""Which values a setting may have, beside its type: what a dataclass says of a field with Annotated.

    layers: Annotated[int | None, Range(1, 1000)] = None

kdfeatures.config.schema holds every value of a configuration against it, so a value that cannot be is one line before
anything starts; tests/trust makes wrong values of it for every option.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

from kdfeatures.errors import ConfigError, nearest

MAX_SEED = 2**32 - 1  # of numpy
# beyond all models there are; more is a slip that would fill the memory before anything else says so
MAX_LAYERS, MAX_WIDTH, MAX_HEADS, MAX_INTERMEDIATE = 1000, 2**16, 2**12, 2**20
MAX_COUNT = 10**9


@dataclass(frozen=True)
class Range:
    """Finite numbers from `low` to `high`; without `low` itself where it is `above`, without `high` where `below`."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False

    def holds(self, value: Any) -> bool:
        """True when the range has the value; None has none."""
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
            return False
        lower = value > self.low if self.above else value >= self.low
        return lower and (value < self.high if self.below else value <= self.high)

    def misses(self, value: Any) -> str:
        """Return what a value that the range does not have must be."""
        low = f"above {_short(self.low)}" if self.above else f"at least {_short(self.low)}"
        high = f"below {_short(self.high)}" if self.below else f"at most {_short(self.high)}"
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            return f"a finite number{'' if math.isinf(self.low) else f' {low}'}"
        if math.isinf(self.low) or math.isinf(self.high):
            return high if math.isinf(self.low) else low
        if self.high <= 1:
            return f"{low} and {high}"
        return low if value <= self.low else high


@dataclass(frozen=True)
class OneOf:
    """One of some words."""

    words: tuple[str, ...]

    def holds(self, value: Any) -> bool:
        """True for one of the words."""
        return value in self.words

    def misses(self, value: Any) -> str:
        """Return what a value that is none of the words must be."""
        return f"one of {', '.join(self.words)}{nearest(value, self.words)}"


Count = Range(1, MAX_COUNT)
Seed = Range(0, MAX_SEED)
Share = Range(0, 1, above=True, below=True)
NotNegative = Range(0)
Positive = Range(0, above=True)


@functools.cache
def ranges_of(kind: type) -> tuple[tuple[str, Range | OneOf], ...]:
    """Return the fields of a dataclass that have a range, or words to choose from."""
    hints = get_type_hints(kind, include_extras=True)
    extras = ((name, extra) for name, hint in hints.items() for extra in getattr(hint, "__metadata__", ()))
    return tuple((name, extra) for name, extra in extras if isinstance(extra, (Range, OneOf)))


def check_values(values: Mapping[str, Any], kind: type) -> None:
    """Raise ConfigError for the first value that its field's range does not have; None and lists of fitting ones pass.

    values: of fields of the dataclass `kind`, by name.
    """
    for name, allowed in ranges_of(kind):
        value = values.get(name)
        for item in value if isinstance(value, (list, tuple)) else [value]:
            if item is not None and not allowed.holds(item):
                raise ConfigError(f"must be {allowed.misses(item)}", argument=name, value=value)


def _short(number: float) -> str:
    return f"{number:,}" if isinstance(number, int) and number >= 10_000 else f"{number:g}"
