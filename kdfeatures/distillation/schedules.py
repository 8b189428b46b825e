"""Weights and temperatures that change during training.

In a config a plain number is constant, and a node is a schedule:
    {schedule: linear, start: 1.0, end: 0.0}
    {schedule: cosine, start: 1.0, end: 0.0}
    {schedule: list, values: [1.0, 0.5, 0.0]}
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from kdfeatures.errors import UserError, nearest


class Schedule(ABC):
    """A value for every progress p, the share of the training's optimiser steps that are done, 0 <= p < 1."""

    @abstractmethod
    def at(self, progress: float) -> float:
        """Return the value at this progress."""

    @property
    @abstractmethod
    def extremes(self) -> Sequence[float]:
        """Numbers that the schedule takes, between which all others lie."""


@dataclass(frozen=True)
class Linear(Schedule):
    """start + (end - start) p: `end` is reached when the training ends."""

    start: float
    end: float

    def at(self, progress: float) -> float:
        return self.start + (self.end - self.start) * progress

    def __str__(self) -> str:
        return f"{self.start:g} to {self.end:g}, linear"

    @property
    def extremes(self) -> Sequence[float]:
        return self.start, self.end


@dataclass(frozen=True)
class Cosine(Schedule):
    """end + (start - end) (1 + cos(pi p)) / 2: unlike Linear, slow at both ends."""

    start: float
    end: float

    def at(self, progress: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * progress)) / 2

    def __str__(self) -> str:
        return f"{self.start:g} to {self.end:g}, cosine"

    @property
    def extremes(self) -> Sequence[float]:
        return self.start, self.end


@dataclass(frozen=True)
class Steps(Schedule):
    """One value after the other, each for an equal part of the training: as many as epochs give one an epoch."""

    values: Sequence[float]

    def at(self, progress: float) -> float:
        # 1/49 * 49 is a little less than 1
        part = int(progress * len(self.values) + 1e-9)
        return self.values[min(part, len(self.values) - 1)]

    def __str__(self) -> str:
        return f"{', '.join(f'{value:g}' for value in self.values)} in turn"

    @property
    def extremes(self) -> Sequence[float]:
        return self.values


KINDS = {"linear": Linear, "cosine": Cosine, "list": Steps}


def read_schedule(node: dict[str, Any], option: str) -> Schedule:
    """Make the schedule of a config node, which the user knows as `option`.

    Raises UserError for an unknown schedule, for fields it does not have or lacks, and for what is no finite number.
    """
    kind = node.get("schedule")
    if kind not in KINDS:
        raise UserError(
            f"{option}.schedule={kind} is unknown{nearest(kind, KINDS)}; choose one of {', '.join(KINDS)}, or give a "
            f"number: {option}=0.5."
        )
    wanted, given = [field.name for field in fields(KINDS[kind])], [name for name in node if name != "schedule"]
    if sorted(given) != sorted(wanted):
        raise UserError(
            f"{option} has schedule={kind}, which takes {' and '.join(wanted)}, but gives "
            f"{' and '.join(given) or 'none'}."
        )
    if kind == "list" and not (isinstance(node["values"], list) and node["values"]):
        raise UserError(f"{option}.values={node['values']} must be a list of at least one number, as [1.0, 0.5].")
    for name in wanted:
        for value in node[name] if kind == "list" else [node[name]]:
            if type(value) not in (int, float) or not math.isfinite(value):
                raise UserError(f"{option}.{name}={value} must be a finite number.")
    return KINDS[kind](**{name: node[name] for name in wanted})


def value_at(value: float | Schedule, progress: float) -> float:
    """Return a constant as it is, and a schedule's value at `progress`."""
    return value.at(progress) if isinstance(value, Schedule) else value


def largest_of(value: float | Schedule) -> float:
    """Return a constant as it is, and the largest value of a schedule."""
    return max(value.extremes) if isinstance(value, Schedule) else value
