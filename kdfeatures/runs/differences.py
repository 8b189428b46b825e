"""How one arm of an experiment stands to another: means, spread, and what their difference is worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from kdfeatures.errors import UserError
from kdfeatures.evaluation.bootstrap import central, seeds_resamples
from kdfeatures.evaluation.metrics import predictions_from_logits, score
from kdfeatures.runs.arms import Arm
from kdfeatures.tasks.task import Task


def compared(arm: Arm, baseline: Arm, *, resamples: int, seed: int) -> dict[str, Any]:
    """Return one line of a table of arms; scores and differences as fractions.

    Raises UserError for two arms that report another split or metric, or share no seed.
    """
    split, metric = arm.scored_by
    if (split, metric) != baseline.scored_by:
        raise UserError(
            f"{arm.name} reports {metric} on {split}, but {baseline.name} {' on '.join(baseline.scored_by[::-1])}; "
            "compare runs of one split and metric."
        )
    scores = [run["student"]["metrics"][split][metric] for run in arm.runs.values()]
    row = {"arm": arm.name, "metric": f"{metric} ({split})", "seeds": len(scores), "mean": float(np.mean(scores))}
    row["std"] = spread(scores)
    kept = [run["retained"] for run in arm.runs.values() if run["retained"] is not None]
    row["retained"] = float(np.mean(kept)) if kept else None
    row["is_baseline"] = arm is baseline
    difference, drawn = difference_of(arm, baseline, split, resamples=resamples, seed=seed)
    low, high = central(drawn)
    shared = len(arm.runs.keys() & baseline.runs.keys())
    return row | {"difference": difference, "low": low, "high": high, "shared_seeds": shared}


def difference_of(arm: Arm, baseline: Arm, split: str, *, resamples: int, seed: int) -> tuple[float, np.ndarray]:
    """Return the difference of the main metric on a split, mean over the seeds that both have, and its resamples."""
    seeds = sorted(arm.runs.keys() & baseline.runs.keys())
    if not seeds:
        raise UserError(
            f"{arm.name} (seeds {sorted(arm.runs)}) and {baseline.name} (seeds {sorted(baseline.runs)}) share no seed; "
            "run both with the same ones."
        )
    some = next(iter(arm.runs.values()))
    task, metric = Task.from_config(some["config"]["task"]), some["metric"]
    predictions = [
        np.stack([predictions_from_logits(logits, task) for logits in side.logits(split, seeds)])
        for side in (arm, baseline)
    ]

    def one(own: np.ndarray, truth: np.ndarray) -> float:
        return score(task.metrics, own, truth)[metric]

    return seeds_resamples(one, *predictions, arm.labels(split), resamples=resamples, seed=seed)


def spread(scores: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds (n - 1); None for one."""
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None
