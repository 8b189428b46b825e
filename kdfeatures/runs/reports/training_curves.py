"""What training logged, term by term, in a run's trainer_state.json or in those of its stages."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from kdfeatures.pages.curves import Curve, curves_html
from kdfeatures.runs.arms import Arm
from kdfeatures.runs.manifest import STAGES

STATE = "trainer_state.json"
TERM = "loss/"  # of a log entry: the mean unweighted value of a term since the entry before
TOTAL, ALL = "loss", "all terms"  # in a log entry, and on the page
CAPTION = (
    "Mean of each term since the log entry before, unweighted; all terms: their weighted sum. A line is a run, over "
    "its steps; a button hides an arm. Terms of one name may be computed otherwise in another arm."
)

Series = dict[str, tuple[list[float], list[float]]]  # by term: steps and values


def training_curves(folder: Path) -> Series:
    """Return (steps, values) of each term of a run, by name; with `STAGE: ` before it where the run has stages.

    Their weighted sum is `all terms`. Empty where the run's folder has no log that can be read.
    """
    stages = sorted((path for path in (folder / STAGES).glob("*/" + STATE)), key=lambda path: _number(path.parent))
    if not stages:
        return _series(_history(folder / STATE), "")
    curves: Series = {}
    for path in stages:
        curves |= _series(_history(path), f"{path.parent.name.partition('-')[2] or path.parent.name}: ")
    return curves


def curves_of_arms(arms: Iterable[Arm]) -> str:
    """Return the curves of all runs of the arms as HTML: a plot for each term, a line for each run."""
    panels: dict[str, list[Curve]] = {}
    missing = 0
    for arm in arms:
        for seed, folder in sorted(arm.folders.items()):
            curves = training_curves(folder)
            missing += not curves
            for title, (steps, values) in curves.items():
                panels.setdefault(title, []).append(Curve(arm.name, f"{arm.name}, seed {seed}", steps, values))
    panels = dict(sorted(panels.items(), key=lambda panel: panel[0].endswith(ALL)))
    note = f"<p>{missing} run{'s' if missing > 1 else ''} kept no log of training.</p>" if missing else ""
    return (curves_html(panels, caption=CAPTION) if panels else "") + note


def _series(history: Iterable[Mapping[str, Any]], prefix: str) -> Series:
    curves: Series = {}
    for entry in history:
        for key, value in entry.items():
            if not (key == TOTAL or key.startswith(TERM)) or not isinstance(value, (int, float)):
                continue
            step = entry.get("step")
            if not isinstance(step, (int, float)) or not math.isfinite(value):
                continue
            steps, values = curves.setdefault(prefix + (ALL if key == TOTAL else key.removeprefix(TERM)), ([], []))
            steps.append(step)
            values.append(value)
    return curves


def _history(file: Path) -> list[Mapping[str, Any]]:
    try:
        history = json.loads(file.read_text(encoding="utf-8"))["log_history"]
    except (OSError, ValueError, KeyError, TypeError):
        return []  # a page of runs is worth having without the curves of one
    return [entry for entry in history if isinstance(entry, Mapping)] if isinstance(history, list) else []


def _number(folder: Path) -> int:
    number = folder.name.partition("-")[0]
    return int(number) if number.isdigit() else 0
