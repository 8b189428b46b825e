"""What distill, finetune and evaluate are told alike: a task, its data, seed and trainer."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from datasets import ClassLabel, Dataset

from kdfeatures.config.compose import composed
from kdfeatures.errors import ConfigError, UserError, nearest
from kdfeatures.runs.folder import refuse_run
from kdfeatures.runs.manifest import DATA
from kdfeatures.tasks.task import SPLITS, Task

OF_FILES = {  # by a task's kind, its file of conf/task
    "sequence": "files",
    "tokens": "token_files",
    "text": "text",
    "multilabel": "multilabel_files",
    "relevance": "relevance_files",
    "question": "question_files",
    "embedding": "embedding_files",
}
TaskLike = str | Task | Mapping[str, Any]
Splits = Mapping[str, Dataset]


@dataclass(frozen=True)
class Call:
    """choices and values as kdfeatures.config.compose.composed takes them."""

    choices: Mapping[str, str | None]
    values: Mapping[str, Any]

    def with_values(self, **values: Any) -> Call:
        """Return the call with more values; those that are None are left to the configuration."""
        return replace(
            self, values={**self.values, **{name: value for name, value in values.items() if value is not None}}
        )


def call(
    task: TaskLike,
    output_dir: str | Path,
    *,
    dataset: Splits | None,
    data_path: str | Path | None,
    seed: int,
    split: str,
    existing: str,
    data: Mapping[str, Any] | None,
    trainer: Mapping[str, Any] | None = None,
) -> Call:
    """Return what the functions of this package have in common; examples in memory are written below output_dir."""
    if dataset is not None and data_path is not None:
        raise ConfigError(
            "has no effect beside dataset", argument="data_path", value=str(data_path), hint="leave one of them out"
        )
    name, node = _task(task)
    if dataset is not None:
        if existing == "refuse":
            refuse_run(Path(output_dir))
        node = {**node, **_in_files(name, node, dataset, Path(output_dir) / DATA, resumes=existing == "resume")}
    values: dict[str, Any] = {"split": split, "output_dir": str(output_dir)}
    if node:
        values["task"] = node
    section = dict(data or {})
    if data_path is not None:
        section["path"] = str(data_path)
    if section:
        values["data"] = section
    if trainer:
        values["trainer"] = dict(trainer)
    return Call({"task": name, "seed": str(seed), "existing": existing}, values)


def _task(task: TaskLike) -> tuple[str, dict[str, Any]]:
    """Return the file of conf/task, and what is said over it."""
    if isinstance(task, str):
        return task, {}
    if isinstance(task, Task):
        facts = asdict(task)
        facts = {key: list(value) if isinstance(value, tuple) else value for key, value in facts.items()}
        if facts["files"]:
            facts["splits"] = {}
        return OF_FILES[task.kind], facts
    if isinstance(task, Mapping):
        kind = task.get("kind", "sequence")
        if kind not in OF_FILES:
            raise ConfigError(
                f"is unknown{nearest(str(kind), OF_FILES)}",
                argument="task['kind']",
                value=kind,
                hint=f"choose from {', '.join(OF_FILES)}",
            )
        return OF_FILES[kind], dict(task)
    raise ConfigError(
        "is no task", argument="task", value=task, hint="give a name such as 'mrpc', a mapping of its facts, or a Task"
    )


def _in_files(name: str, node: Mapping[str, Any], dataset: Splits, folder: Path, *, resumes: bool) -> dict[str, Any]:
    """Write the splits as parquet, and return what a task says of data that lie there.

    So a run can be resumed, compared and inspected when the process that had its data in memory is gone.
    """
    if not isinstance(dataset, Mapping) or not dataset:
        raise ConfigError(
            "must be {split: datasets.Dataset}", argument="dataset", value=type(dataset).__name__,
            hint="for instance dataset={'train': train, 'validation': dev}",
        )  # fmt: skip
    names = _split_names(name)
    files = {}
    for given, examples in dataset.items():
        if given not in names:
            raise ConfigError(
                f"is no split of the task{nearest(given, names)}",
                argument="dataset",
                value=given,
                hint=f"name it one of {', '.join(names)}",
            )
        if not isinstance(examples, Dataset):
            raise ConfigError(
                f"must be a datasets.Dataset, but is {type(examples).__name__}", argument=f"dataset[{given!r}]"
            )
        files[names[given]] = str(_write_split(examples, names[given], folder, resumes=resumes).absolute())
    said = {"files": files, "splits": {}, "dataset": None, "config": None, "embedded": None}
    return {**said, **_labels(node, next(iter(dataset.values())))}


def _split_names(name: str) -> dict[str, str]:
    """Return how a user may call a split, and what a task calls it."""
    of_data: Mapping[str, str] = {}
    if name not in OF_FILES.values():
        config = composed("finetune", None, choices={"task": name}, values={})
        of_data = {theirs: ours for ours, theirs in config["task"]["splits"].items()}
    return {**of_data, **{split: split for split in SPLITS}}


def _labels(node: Mapping[str, Any], examples: Dataset) -> dict[str, Any]:
    """Return the class names that the data themselves know, where a task says none."""
    label = node.get("label")
    if "labels" in node or label not in examples.features:
        return {}
    feature = examples.features[label]
    return {"labels": list(feature.names)} if isinstance(feature, ClassLabel) else {}


def _write_split(examples: Dataset, split: str, folder: Path, *, resumes: bool) -> Path:
    """Write a split as parquet, unless it is there; its name tells its content, so that runs on other data differ.

    Other examples are those of a run that is overwritten, and go when its successor is whole, or, where one is resumed,
    an error.
    """
    path = folder / f"{split}-{_digest(examples)}.parquet"
    for other in folder.glob(f"{split}-*.parquet"):
        if other != path and resumes:
            raise UserError(
                f"{other} holds other examples than are given now; give the same ones, or choose another folder."
            )
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        half = path.with_suffix(f".{os.getpid()}")  # of processes that train together none sees half a file
        examples.to_parquet(half)
        os.replace(half, path)
    return path


def _digest(examples: Dataset) -> str:
    digest = hashlib.sha256(str(sorted(examples.features.items())).encode())
    for row in examples:
        digest.update(json.dumps(row, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:12]


def overrides_of(overrides: Sequence[str]) -> list[str]:
    """Return overrides in the words of the command line as a list; raises ConfigError for a single string."""
    if isinstance(overrides, str):
        raise ConfigError(
            "must be a list of overrides", argument="overrides", value=overrides, hint=f"write [{overrides!r}]"
        )
    return list(overrides)
