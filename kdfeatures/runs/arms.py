"""Runs that differ in nothing but their seed are one arm of an experiment: find and read them below a folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from kdfeatures.errors import UserError
from kdfeatures.runs.manifest import DATA, REPLACED, STAGES
from kdfeatures.runs.results import FILE, read_results
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

SAID = ("task", "seed", "split", "metric", "student", "config")  # by results that can be compared
PER_RUN = ("seed", "output_dir", "existing")  # what tells runs of one arm apart


def folder_of_arm(arm: str) -> str:
    """Return how the folder of a grid's arm is called."""
    return arm.replace(",", "").replace(" ", "_").replace("/", "_")


@dataclass
class Arm:
    """The runs of one arm by their seed: results.json of each, and the folder it lies in."""

    name: str
    task: str
    runs: dict[int, dict[str, Any]] = field(default_factory=dict)
    folders: dict[int, Path] = field(default_factory=dict)

    @property
    def scored_by(self) -> tuple[str, str]:
        """The split and the metric that the arm's runs report."""
        run = next(iter(self.runs.values()))
        return run["split"], run["metric"]

    def logits(self, split: str, seeds: Iterable[int]) -> np.ndarray:
        """Return the student's logits on a split, (seeds, examples, C)."""
        return np.stack([_array(self.folders[seed], split) for seed in seeds])

    def labels(self, split: str, seed: int) -> np.ndarray:
        """Return the labels that a run was held against, (examples,). Raises UserError for one that kept none."""
        return _array(self.folders[seed], f"labels/{split}")


def find_arms(folder: Path) -> list[Arm]:
    """Return the arms of all finished runs of distill and finetune below `folder`, in the order of their folders.

    Stages of a run and teachers that a run trained for itself are not runs of their own. Runs are left out whose
    rows are no examples that could be drawn anew: of plain text, of words, of windows, of candidates of a query.
    Raises UserError when there is no run, and when two have the same configuration and seed.
    """
    arms: dict[str, Arm] = {}
    for path in sorted(folder.rglob(FILE)):
        inside = path.parent.relative_to(folder).parts
        results = read_results(path.parent)
        if (
            {STAGES, REPLACED} & set(inside)
            or results.get("command") not in ("distill", "finetune")
            or _is_own_teacher(path.parent)
        ):
            continue
        missing = [name for name in SAID if name not in results]
        if missing or not isinstance(results["config"], Mapping):
            raise UserError(f"{path} is no whole result of a run: it lacks {(missing or ['config'])[0]}.")
        if "kind" not in results["config"]["task"]:
            raise UserError(f"{path} is of an older version, which kept no labels; run it anew, or move it elsewhere.")
        task = Task.from_config(results["config"]["task"])
        if task_type(task).main_score(task) is None or not task.metrics:
            continue
        shared = {name: value for name, value in results["config"].items() if name not in PER_RUN}
        own_data = str((Path(results["config"]["output_dir"]) / DATA).absolute())
        key = json.dumps(_without_drawn(shared, results["seed"]), sort_keys=True).replace(own_data, DATA)
        arm = arms.setdefault(key, Arm(_name(path.parent, folder, results["task"]), results["task"]))
        seed = results["seed"]
        if seed in arm.runs:
            raise UserError(
                f"{path.parent} and {arm.folders[seed]} have the same configuration and seed {seed}; keep one of them."
            )
        arm.runs[seed], arm.folders[seed] = results, path.parent
    if not arms:
        raise UserError(f"runs={folder} holds no finished run of distill or finetune whose texts have a label each.")
    return _briefly_named(list(arms.values()))


def without_seed(text: str) -> str:
    """Return a folder's path without the seed that a sweep or a user wrote into it."""
    return re.sub(r"(^|[,/_-])seed[=_-]?\d+", "", text).strip(",/_-.")


def _without_drawn(node: Any, seed: int, inside: str = "") -> Any:
    """Return a config without the seeds of maps that follow the run's, as that of mapping=random does.

    What is null is left out too: a run of an earlier version does not have the options that came later.
    """
    if not isinstance(node, Mapping):
        return node
    left = {
        name: value
        for name, value in node.items()
        if value is not None and (inside, name, value) != ("mapping", "seed", seed)
    }
    return {name: _without_drawn(value, seed, name) for name, value in left.items()}


def _is_own_teacher(folder: Path) -> bool:
    return folder.name == "teacher" and (folder.parent / FILE).exists()


def _name(folder: Path, root: Path, task: str) -> str:
    """The folder's path below root, without what tables say elsewhere: the seed, and a folder of the task's name."""
    return without_seed(str(folder.relative_to(root))).removeprefix(f"{task}/") or folder.name


def _briefly_named(arms: list[Arm]) -> list[Arm]:
    """Name arms by the value alone where a sweep varied nothing but one option: uniform for mapping=uniform."""
    parts = [arm.name.partition("=") for arm in arms]
    if all(sign for _, sign, _ in parts) and len({key for key, _, _ in parts}) == 1:
        if not any(mark in value for _, _, value in parts for mark in ",="):
            for arm, (_, _, value) in zip(arms, parts, strict=True):
                arm.name = value
    return arms


def _array(folder: Path, name: str) -> np.ndarray:
    """Read one array of a run's answers, and no other."""
    try:
        with np.load(folder / "logits.npz") as stored:
            if name in stored.files:
                return stored[name]
    except (OSError, ValueError, BadZipFile) as error:
        raise UserError(
            f"{folder}/logits.npz is not there or damaged, but runs are compared example by example; run it anew, or "
            "move the folder elsewhere."
        ) from error
    raise UserError(f"{folder}/logits.npz has no {name.replace('/', ' of ')}; run it anew with this version.")
