"""What a search chooses from: numbers between two bounds, or one of several lists of overrides."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

from kdfeatures.errors import UserError, nearest

NUMBER, CHOICES = ("option", "low", "high", "log"), "choices"


class Trial(Protocol):
    """What a space asks of a trial, as optuna.Trial has it."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number between both."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> str:
        """Return one of the choices."""


class Choice(Protocol):
    """One of the things that a trial chooses."""

    def overrides(self, name: str, trial: Trial) -> list[str]:
        """Return what the trial chose, as overrides of `kdfeatures distill`."""

    def extremes(self) -> Mapping[str, list[str]]:
        """Return what must all be possible, by a name: each of several, or both ends of a range."""


@dataclass(frozen=True)
class Number:
    """A number of an option between low and high, drawn evenly, or evenly in its logarithm."""

    option: str
    low: float
    high: float
    log: bool = False

    def overrides(self, name: str, trial: Trial) -> list[str]:
        return [self._override(trial.suggest_float(name, self.low, self.high, log=self.log))]

    def extremes(self) -> Mapping[str, list[str]]:
        return {"low": [self._override(self.low)], "high": [self._override(self.high)]}

    def _override(self, value: float) -> str:
        return f"{self.option}={value:.6g}"


@dataclass(frozen=True)
class OneOfSeveral:
    """One of several lists of overrides, by their names."""

    choices: Mapping[str, Sequence[str]]

    def overrides(self, name: str, trial: Trial) -> list[str]:
        return list(self.choices[trial.suggest_categorical(name, list(self.choices))])

    def extremes(self) -> Mapping[str, list[str]]:
        return {f"choices.{name}": list(overrides) for name, overrides in self.choices.items()}


def read_space(space: Mapping[str, Any]) -> dict[str, Choice]:
    """Return what is chosen, by name. Raises UserError for an entry that is neither of the two, or cannot be."""
    return {str(name): _read(f"search.space.{name}", node) for name, node in space.items()}


def _read(where: str, node: Any) -> Choice:
    if not isinstance(node, Mapping):
        raise UserError(
            f"{where}={node} must say what is chosen: {{option: trainer.learning_rate, low: 1e-5, high: 1e-4}}, or "
            "{choices: {uniform: [mapping=uniform], last: [mapping=last]}}."
        )
    known = [CHOICES] if CHOICES in node else NUMBER
    for key in node:
        if key not in known:
            raise UserError(f"{where}.{key} is unknown{nearest(str(key), known)}; known: {', '.join(known)}.")
    return _choices(where, node[CHOICES]) if CHOICES in node else _number(where, node)


def _choices(where: str, choices: Any) -> OneOfSeveral:
    if not isinstance(choices, Mapping) or len(choices) < 2:
        raise UserError(f"{where}.choices={choices} must name two or more lists of overrides.")
    for name, overrides in choices.items():
        if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
            raise UserError(f"{where}.choices.{name}={overrides} must be a list of overrides, such as [mapping=last].")
    return OneOfSeveral({str(name): list(overrides) for name, overrides in choices.items()})


def _number(where: str, node: Mapping[str, Any]) -> Number:
    for key in NUMBER[:3]:
        if node.get(key) is None:
            raise UserError(f"{where}.{key} is missing; give {where}={{option: NAME, low: NUMBER, high: NUMBER}}.")
    option, low, high, log = node["option"], node["low"], node["high"], node.get("log", False)
    if not isinstance(option, str) or not re.fullmatch(r"\w+(\.\w+)*", option):
        raise UserError(f"{where}.option={option} must be the name of an option, such as trainer.learning_rate.")
    for key, value in (("low", low), ("high", high)):
        if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
            raise UserError(f"{where}.{key}={value} must be a finite number.")
    if not isinstance(log, bool):
        raise UserError(f"{where}.log={log} must be true or false.")
    if not low < high:
        raise UserError(f"{where}.low={low} must be below {where}.high={high}.")
    if log and low <= 0:
        raise UserError(f"{where}.low={low} must be above 0 with log: true.")
    return Number(option, float(low), float(high), log)
