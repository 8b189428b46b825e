"""The teacher of a task's trials: one that has not seen the examples which they are scored on.

A student learns from its teacher, and often starts as a copy of it. What the teacher has memorised of the held-out
examples would make every trial look better, and the most those that change the copy least.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from kdfeatures.benchmark.grid_run import GridRun
from kdfeatures.benchmark.settings import GridRunSettings
from kdfeatures.errors import UserError
from kdfeatures.runs.folder import is_finished
from kdfeatures.runs.results import read_results


class TrialTeacher(NamedTuple):
    """Where it is, the run that makes it or None, and whether it has seen what trials are scored on."""

    folder: Path
    run: GridRun | None
    has_seen: bool


def trial_teacher(settings: GridRunSettings, task: str, held: GridRun, teacher: Path) -> TrialTeacher:
    """Return the teacher of a task's trials: a given one, or else one to be fine-tuned, or else that of the students.

    held: the run that would make it. teacher: the folder of the students'. Raises UserError for a folder that is not
    there, and for a teacher whose results.json tells of another share held out.
    """
    share = settings.grid.held_out
    if settings.trial_root is not None:
        folder = settings.trial_root / task
        if not (folder / "config.json").exists():
            raise UserError(f"teacher.trial_root={settings.trial_root} has no folder {task} with a model.")
        known = _held_out(folder)
        if known not in (share, "unknown"):
            raise UserError(
                f"the teacher in {folder} was fine-tuned with data.held_out={known}, but trials hold out {share}; give "
                "held_out, or a teacher, that agree."
            )
        return TrialTeacher(folder, None, has_seen=False)
    if _held_out(teacher) == share:
        return TrialTeacher(teacher, None, has_seen=False)
    if settings.encoder is None and held.config().task.embedded is None:
        return TrialTeacher(teacher, None, has_seen=True)
    return TrialTeacher(held.folder, held, has_seen=False)


def _held_out(folder: Path) -> float | str | None:
    """Return the share of the training examples that a fine-tuned model in `folder` was not trained on, if it tells."""
    if not is_finished(folder):
        return "unknown"
    return read_results(folder).get("config", {}).get("data", {}).get("held_out")
