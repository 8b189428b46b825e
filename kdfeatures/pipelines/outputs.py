"""What every run leaves in its folder: results.json, and with a trained model its logits and model card."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from transformers import Trainer

from kdfeatures.runs.environment import device_name, versions
from kdfeatures.runs.publishing.model_card import write_card
from kdfeatures.runs.publishing.provenance import base_models, commits, hub_ids
from kdfeatures.runs.run_results import RunResults
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.training.build import last_losses
from kdfeatures.training.distributed import process_count
from kdfeatures.training.length_batched import padding_share


def results_of(
    command: str, config: Mapping[str, Any], task: Task, start: float, *, student: Mapping[str, Any], **more: Any
) -> RunResults:
    """Return a run's results as kdfeatures.runs.results describes them; `more` are those that not every command has.

    config: the run's, resolved. start: time.monotonic() at the beginning.
    """
    values = {
        "command": command,
        "task": task.name,
        "recipe": None,
        "mapping": None,
        "maps": {},
        "heads": {},
        "seed": config["seed"],
        "split": config["split"],
        "metric": task.main_metric,
        "teacher": None,
        "student": student,
        "retained": None,
        "train_examples": None,
        "labelled_examples": None,
        "pool_examples": 0,
        "augmented_examples": 0,
        "losses": {},
        "padding": None,
        "report": None,
        "processes": 1,
        "versions": versions(),
        "device": device_name(),
        "base_models": base_models(config),
        "hub": hub_ids(config),
        "commits": commits(config),
        "config": config,
    } | {
        **more,
        "seconds": {"train": more.get("seconds"), "total": time.monotonic() - start},
    }
    return RunResults.from_dict(values)


def of_training(trainer: Trainer, seconds: float) -> dict[str, Any]:
    """Return what results_of shall say of a training that took so many seconds."""
    return {
        "seconds": seconds,
        "losses": last_losses(trainer),
        "padding": padding_share(trainer),
        "processes": process_count(),
    }


def save_run(
    folder: Path,
    results: RunResults,
    task: Task,
    logits: Mapping[str, np.ndarray],
    reported: Mapping[str, Dataset],
) -> None:
    """Write logits.npz and the card, and results.json last: it says that the run is finished.

    logits.npz holds for every reported split its answers (kdfeatures.tasks) under its name, and the labels that they
    are held against as `labels/<split>`.
    """
    arrays: dict[str, Any] = dict(logits)
    if task.has_labels:
        arrays |= {f"labels/{name}": task_type(task).labels(split) for name, split in reported.items()}
    np.savez_compressed(folder / "logits.npz", **arrays)
    write_card(folder, results.as_dict(), task)
    results.write(folder)
