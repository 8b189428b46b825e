"""Weights and temperatures that change during training.

In a config a plain number is constant, and a node is a schedule:
    {schedule: linear, start: 1.0, end: 0.0}
    {schedule: cosine, start: 1.0, end: 0.0}
    {schedule: list, values: [1.0, 0.5, 0.0]}
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from kdfeatures.errors import ConfigError, nearest


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


KINDS: dict[str, type[Linear | Cosine | Steps]] = {"linear": Linear, "cosine": Cosine, "list": Steps}


def read_schedule(node: Mapping[str, Any]) -> Schedule:
    """Make the schedule that a mapping describes, as a config has it.

    Raises ConfigError for an unknown schedule, for fields it does not have or lacks, and for what is no finite number.

    >>> read_schedule({"schedule": "linear", "start": 1.0, "end": 0.0}).at(0.25)
    0.75
    """
    kind = node.get("schedule")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigError(
            f"is unknown{nearest(str(kind), KINDS)}",
            argument="schedule",
            value=kind,
            hint=f"choose one of {', '.join(KINDS)}, or give a number",
            key="schedule.kind",
            kinds=", ".join(KINDS),
            nearest=nearest(str(kind), KINDS),
        )
    wanted, given = [field.name for field in fields(KINDS[kind])], [name for name in node if name != "schedule"]
    if sorted(given) != sorted(wanted):
        raise ConfigError(
            f"schedule={kind} takes {' and '.join(wanted)}, but {' and '.join(given) or 'none'} is given",
            key="schedule.fields",
            kind=kind,
            wanted=" and ".join(wanted),
            given=" and ".join(given) or "none",
        )
    if kind == "list" and not (isinstance(node["values"], list) and node["values"]):
        raise ConfigError(
            "must be a list of at least one number, as [1.0, 0.5]", argument="values", value=node["values"]
        )
    for name in wanted:
        for value in node[name] if kind == "list" else [node[name]]:
            if type(value) not in (int, float) or not math.isfinite(value):
                raise ConfigError("must be a finite number", argument=name, value=value)
    return KINDS[kind](**{name: node[name] for name in wanted})


def schedule_node(schedule: Schedule) -> dict[str, Any]:
    """Return the mapping that `read_schedule` makes the schedule from.

    >>> schedule_node(Linear(1.0, 0.0))
    {'schedule': 'linear', 'start': 1.0, 'end': 0.0}
    """
    kind = next((name for name, known in KINDS.items() if isinstance(schedule, known)), type(schedule).__name__)
    return {"schedule": kind, **{name: _plain(value) for name, value in vars(schedule).items()}}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, Sequence) else value


def value_at(value: float | Schedule, progress: float) -> float:
    """Return a constant as it is, and a schedule's value at `progress`."""
    return value.at(progress) if isinstance(value, Schedule) else value


def largest_of(value: float | Schedule) -> float:
    """Return a constant as it is, and the largest value of a schedule."""
    return max(value.extremes) if isinstance(value, Schedule) else value
