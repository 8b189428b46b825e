"""How far a grid is, and how long it will take."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from kdfeatures.benchmark.grid_run import GridRun
from kdfeatures.benchmark.schedule import ArmSchedule


class Progress:
    """Counts the runs of a grid, and times those that this process ran."""

    def __init__(self, units: Sequence[ArmSchedule]) -> None:
        self.units = units
        self.seconds: dict[str, list[float]] = {}

    def line(self, cell: GridRun, seconds: float) -> str:
        """Return what to say of a run that has just ended."""
        self.seconds.setdefault(cell.task, []).append(seconds)
        missing = [(unit.task, unit.planned - _finished(unit)) for unit in self.units]
        total, left = sum(unit.planned for unit in self.units), sum(runs for _, runs in missing)
        remaining = f"; about {clock(self._seconds_of(missing))} left" if left else ""
        return f"[{total - left}/{total}] {cell}: {_outcome(cell)} in {clock(seconds)}{remaining}"

    def _seconds_of(self, missing: Sequence[tuple[str, int]]) -> float:
        """The runs that each task lacks at the mean time of its own, or of all tasks where none has run."""
        everywhere = [duration for seconds in self.seconds.values() for duration in seconds]
        return sum(runs * statistics.fmean(self.seconds.get(task, everywhere)) for task, runs in missing)


def clock(seconds: float) -> str:
    """Return a time as 1:02:03, or 2:03 below an hour."""
    whole = round(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _finished(unit: ArmSchedule) -> int:
    """How many of the planned runs are finished; the teacher's is none of them."""
    return sum(cell.is_finished for stage in unit.stages() for cell in stage if cell.command != "finetune")


def _score(results: Mapping[str, Any], model: Mapping[str, Any]) -> str:
    return f"{100 * model['metrics'][results['split']][results['metric']]:.1f}"


def _outcome(cell: GridRun) -> str:
    if cell.failure is not None:
        return f"failed ({cell.failure})"
    results = cell.results()
    if cell.command == "export":
        return ", ".join(f"{name} {_score(results, model)}" for name, model in results["formats"].items())
    return f"{_score(results, results['student'])} {results['metric']} ({results['split']})"
