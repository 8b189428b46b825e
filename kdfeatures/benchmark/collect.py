"""What the runs of a grid say so far: a row for each task and arm, and each arm's mean over tasks."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kdfeatures.benchmark.schedule import ArmSchedule
from kdfeatures.evaluation.bootstrap import central
from kdfeatures.runs.arms import Arm
from kdfeatures.runs.differences import difference_of, spread
from kdfeatures.runs.results import retained
from kdfeatures.tasks.glue_sizes import is_partial
from kdfeatures.tasks.task import Task

GLUE = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte")  # whose mean papers report; wnli is left out


def rows_of(units: Sequence[ArmSchedule], *, baseline: str, resamples: int) -> list[dict[str, Any]]:
    """Return a row for each arm of each task that has a finished run, with its gain over the baseline's on that task.

    scores: by seed, the task's main metric, for MNLI the mean of its two parts; seeds: how many there will be. partial:
    {split: examples} of those that are not all of a published one. metrics:
    {"f1": {"mean", "std"}}, those of a second part as "accuracy (extra)"; teacher_metrics likewise. difference, low,
    high, drawn: over the seeds that both have, None without. minutes: of the median run.
    """
    arms = {(unit.task, unit.arm): finished_arm(unit) for unit in units}
    taught = _taught_by_the_given(arms)
    rows = []
    for unit in units:
        arm, other = arms[unit.task, unit.arm], arms[unit.task, baseline]
        if not arm.runs:
            continue
        scores = {seed: _score(run) for seed, run in arm.runs.items()}
        first_run = next(iter(arm.runs.values()))
        of_teacher = taught.get(unit.task, first_run)
        teacher = None if of_teacher["teacher"] is None else _score(of_teacher, of="teacher")
        row = {
            "task": unit.task,
            "arm": unit.arm,
            "learning_rate": unit.learning_rate,
            "trials": unit.searched or len(unit.trials),
            "scores": scores,
            "seeds": len(next(iter(unit.runs.values()))),
            "partial": _partial(first_run),
            "mean": float(np.mean(list(scores.values()))),
            "std": spread(list(scores.values())),
            "metrics": _metrics(list(arm.runs.values())),
            "teacher": teacher,
            "teacher_metrics": None if teacher is None else _metrics([of_teacher], of="teacher"),
            "retained": _retained(float(np.mean(list(scores.values()))), teacher),
            "minutes": float(np.median([run["seconds"]["total"] for run in arm.runs.values()])) / 60,
            "devices": sorted({run["device"] for run in arm.runs.values()}),
        }
        gain = dict.fromkeys(("difference", "low", "high", "drawn"))
        if arm.runs.keys() & other.runs.keys() and arm is not other:
            gain = _gain(arm, other, resamples, seed=zlib.crc32(f"{unit.task}/{unit.arm}".encode()))
        rows.append(row | gain)
        rows += _exported(unit, row)
    return rows


def means_of(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return each arm's mean over all tasks that there are rows of, but WNLI; of arms that have a row for each of them.

    std: over the seeds that all of its tasks have. The interval of a gain is that of the mean of the tasks' gains.
    """
    tasks = [task for task in dict.fromkeys(row["task"] for row in rows) if task != "wnli"]
    entries = []
    for arm in dict.fromkeys(row["arm"] for row in rows):
        arm_rows = [row for row in rows if row["arm"] == arm and row["task"] in tasks]
        if not tasks or len(arm_rows) < len(tasks):
            continue
        seeds = sorted(set.intersection(*(set(row["scores"]) for row in arm_rows)))
        by_seed = [float(np.mean([row["scores"][seed] for row in arm_rows])) for seed in seeds]
        teachers = [row["teacher"] for row in arm_rows]
        mean = float(np.mean([row["mean"] for row in arm_rows]))
        entry = {
            "arm": arm,
            "tasks": tasks,
            "mean": mean,
            "seeds": seeds,
            "std": spread(by_seed) if by_seed else None,
            "teacher": float(np.mean(teachers)) if None not in teachers else None,
        }
        entry["retained"] = _retained(mean, entry["teacher"])
        entry |= dict.fromkeys(("difference", "low", "high"))
        if all(row["drawn"] is not None for row in arm_rows):
            low, high = central(np.mean([row["drawn"] for row in arm_rows], axis=0))
            entry |= {"difference": float(np.mean([row["difference"] for row in arm_rows])), "low": low, "high": high}
        entries.append(entry)
    return entries


def finished_arm(unit: ArmSchedule) -> Arm:
    """Return the runs of an arm that have finished, with the learning rate that was chosen; none before it is."""
    finished = [cell for cell in unit.chosen if cell.is_finished]
    runs = {cell.seed: cell.results() for cell in finished}
    return Arm(unit.arm, unit.task, runs, {cell.seed: cell.folder for cell in finished})


def _taught_by_the_given(arms: Mapping[tuple[str, str], Arm]) -> dict[str, Mapping[str, Any]]:
    """Return a run of each task whose teacher is the one that was given, and not the student of an earlier stage."""
    taught: dict[str, Mapping[str, Any]] = {}
    for (task, _), arm in arms.items():
        for run in arm.runs.values():
            stages = (run["config"].get("stages") or {}).values()
            if run["teacher"] and not any(stage.get("born_again") for stage in stages):
                taught.setdefault(task, run)
    return taught


def _exported(unit: ArmSchedule, row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each exported format; instead of a gain over the baseline its difference to the torch model."""
    results = {cell.seed: cell.results() for cell in unit.exports if cell.is_finished}
    rows = []
    for form in ("onnx", "int8") if results else ():
        runs = {seed: {**run, "student": run["formats"][form]} for seed, run in results.items()}
        scores = {seed: _score(run) for seed, run in runs.items()}
        torchs = [_score({**run, "student": run["formats"]["torch"]}) for run in results.values()]
        mean = float(np.mean(list(scores.values())))
        values = {"arm": f"{unit.arm}, {form}", "scores": scores, "mean": mean, "std": spread(list(scores.values()))}
        values |= {"metrics": _metrics(list(runs.values())), "retained": _retained(mean, row["teacher"])}
        values |= dict.fromkeys(("difference", "low", "high", "drawn"))
        rows.append({**row, **values, "to_student": mean - float(np.mean(torchs))})
    return rows


def _retained(student: float, teacher: float | None) -> float | None:
    return None if teacher is None else retained(student, teacher)


def _partial(run: Mapping[str, Any]) -> dict[str, int]:
    task, examples = Task.from_config(run["config"]["task"]), run.get("examples") or {}
    return {split: count for split, count in examples.items() if is_partial(task, split, count)}


def _score(run: Mapping[str, Any], of: str = "student") -> float:
    return float(np.mean([metrics[run["metric"]] for metrics in run[of]["metrics"].values()]))


def _metrics(runs: Sequence[Mapping[str, Any]], of: str = "student") -> dict[str, dict[str, float | None]]:
    first, figures = runs[0], {}
    for split, metrics in first[of]["metrics"].items():
        for metric in metrics:
            if metric == "combined_score":
                continue
            values = [run[of]["metrics"][split][metric] for run in runs]
            name = metric if split == first["split"] else f"{metric} ({split})"
            figures[name] = {"mean": float(np.mean(values)), "std": spread(values)}
    return figures


def _gain(arm: Arm, other: Arm, resamples: int, seed: int) -> dict[str, Any]:
    splits = next(iter(arm.runs.values()))["student"]["metrics"]
    differences = [difference_of(arm, other, split, resamples=resamples, seed=seed) for split in splits]
    drawn = np.mean([values for _, values in differences], axis=0)
    low, high = central(drawn)
    return {
        "difference": float(np.mean([difference for difference, _ in differences])),
        "low": low,
        "high": high,
        "drawn": drawn,
    }
