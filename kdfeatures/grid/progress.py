"""How far a grid is, and how long it will take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

from kdfeatures.grid.cell import Cell
from kdfeatures.grid.schedule import Unit


class Progress:
    """Counts the runs of a grid, and times those that this process ran."""

    def __init__(self, units: Sequence[Unit]) -> None:
        self.units = units
        self.seconds: dict[str, list[float]] = {}

    def line(self, cell: Cell, seconds: float) -> str:
        """Return what to say of a run that has just ended."""
        self.seconds.setdefault(cell.task, []).append(seconds)
        done = sum(one.is_finished for unit in self.units for stage in unit.stages() for one in _of_arm(stage))
        total = sum(unit.planned for unit in self.units)
        left = "" if done == total else f"; about {clock(self._left())} left"
        return f"[{done}/{total}] {cell}: {_outcome(cell)} in {clock(seconds)}{left}"

    def _left(self) -> float:
        """The remaining runs of each task at the mean time of its own, or of all tasks where none has run."""
        everywhere = statistics.fmean(one for seconds in self.seconds.values() for one in seconds)
        left = 0.0
        for unit in self.units:
            finished = sum(cell.is_finished for stage in unit.stages() for cell in _of_arm(stage))
            each = self.seconds.get(unit.task)
            left += (unit.planned - finished) * (statistics.fmean(each) if each else everywhere)
        return left


def clock(seconds: float) -> str:
    """Return a time as 1:02:03, or 2:03 below an hour."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def timed(cell: Cell) -> tuple[bool, float]:
    """Run a cell; return whether it was this process that did, and the seconds it took."""
    start = time.monotonic()
    return cell.run(), time.monotonic() - start


def _of_arm(stage: Sequence[Cell]) -> list[Cell]:
    return [cell for cell in stage if cell.command != "finetune"]


def _score(results: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    return f"{100 * found['metrics'][results['metric']]:.1f}"


def _outcome(cell: Cell) -> str:
    if cell.failure is not None:
        return f"failed ({cell.failure})"
    results = cell.results()
    if cell.command == "export":
        return ", ".join(f"{name} {_score(results, one)}" for name, one in results["formats"].items())
    metric, scores = results["metric"], results["student"]["metrics"][results["split"]]
    return f"{100 * scores[metric]:.1f} {metric} ({results['split']})"
