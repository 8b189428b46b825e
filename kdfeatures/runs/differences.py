"""How one arm of an experiment stands to another: means, spread, and what their difference is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdfeatures.errors import UserError
from kdfeatures.evaluation.bootstrap import central, seeds_resamples
from kdfeatures.runs.arms import Arm
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task


@dataclass(frozen=True)
class ArmDifference:
    """One line of a table of arms; scores and differences are fractions.

    metric: and the split that it is of. std: over seeds, None for one. retained: mean over seeds of student / teacher.
    low, high: the 95% interval of the difference to the baseline. shared_seeds: that arm and baseline both have.
    """

    task: str
    arm: str
    metric: str
    seeds: int
    mean: float
    std: float | None
    retained: float | None
    is_baseline: bool
    difference: float
    low: float
    high: float
    shared_seeds: int


def compare_arms(arm: Arm, baseline: Arm, *, resamples: int, seed: int) -> ArmDifference:
    """Return how an arm stands to the baseline.

    Raises UserError for two arms that report another split or metric, or share no seed.
    """
    split, metric = arm.scored_by
    if (split, metric) != baseline.scored_by:
        raise UserError(
            f"{arm.name} reports {metric} on {split}, but {baseline.name} {' on '.join(baseline.scored_by[::-1])}; "
            "compare runs of one split and metric."
        )
    scores = [run["student"]["metrics"][split][metric] for run in arm.runs.values()]
    shares = [run["retained"] for run in arm.runs.values() if run["retained"] is not None]
    difference, drawn = difference_of(arm, baseline, split, resamples=resamples, seed=seed)
    low, high = central(drawn)
    return ArmDifference(
        task=arm.task,
        arm=arm.name,
        metric=f"{metric} ({split})",
        seeds=len(scores),
        mean=float(np.mean(scores)),
        std=spread(scores),
        retained=float(np.mean(shares)) if shares else None,
        is_baseline=arm is baseline,
        difference=difference,
        low=low,
        high=high,
        shared_seeds=len(arm.runs.keys() & baseline.runs.keys()),
    )


def difference_of(arm: Arm, baseline: Arm, split: str, *, resamples: int, seed: int) -> tuple[float, np.ndarray]:
    """Return the difference of the main metric on a split, mean over the seeds that both have, and its resamples."""
    seeds = sorted(arm.runs.keys() & baseline.runs.keys())
    if not seeds:
        raise UserError(
            f"{arm.name} (seeds {sorted(arm.runs)}) and {baseline.name} (seeds {sorted(baseline.runs)}) share no seed; "
            "run both with the same ones."
        )
    labels = arm.labels(split, seeds[0])
    for side in (arm, baseline):
        for of_seed in seeds:
            its_labels = side.labels(split, of_seed)
            if not np.array_equal(its_labels, labels, equal_nan=labels.dtype.kind == "f"):
                raise UserError(
                    f"{arm.folders[seeds[0]]} and {side.folders[of_seed]} were scored on {split} examples of other "
                    "labels, or in another order, or have their classes in another order (task.labels); compare runs "
                    "of the same data and task."
                )
    task = Task.from_config(next(iter(arm.runs.values()))["config"]["task"])
    of_arm, of_baseline = (
        np.stack([task.predictions_from_logits(logits) for logits in side.logits(split, seeds)])
        for side in (arm, baseline)
    )
    main_score = task_type(task).main_score(task)
    assert main_score is not None  # find_arms leaves out others
    return seeds_resamples(main_score, of_arm, of_baseline, labels, resamples=resamples, seed=seed)


def spread(scores: Sequence[float]) -> float | None:
    """Return the standard deviation over seeds (n - 1); None for one."""
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None
