"""What every run leaves in its folder: results.json, and with a trained model its logits and model card."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from omegaconf import DictConfig, OmegaConf
from transformers import Trainer

from kdfeatures.evaluation.metrics import main_metric
from kdfeatures.runs.model_card import write_card
from kdfeatures.runs.provenance import base_models, hub_ids
from kdfeatures.runs.results import device_name, versions, write_results
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.training.build import last_losses
from kdfeatures.training.distributed import process_count
from kdfeatures.training.length_batched import padding_share


def results_of(
    command: str, cfg: DictConfig, task: Task, start: float, *, student: Mapping[str, Any], **more: Any
) -> dict[str, Any]:
    """Return a run's results as kdfeatures.runs.results describes them; `more` are those that not every command has.

    start: time.monotonic() at the beginning.
    """
    config = OmegaConf.to_container(cfg, resolve=True)
    return {
        "command": command,
        "task": task.name,
        "recipe": None,
        "mapping": None,
        "maps": {},
        "heads": {},
        "seed": cfg.seed,
        "split": cfg.split,
        "metric": main_metric(task),
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
        "config": config,
    } | {
        **more,
        "seconds": {"train": more.get("seconds"), "total": time.monotonic() - start},
    }


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
    results: dict[str, Any],
    task: Task,
    logits: Mapping[str, np.ndarray],
    reported: Mapping[str, Dataset],
) -> None:
    """Write logits.npz and the card, and results.json last: it says that the run is finished.

    logits.npz holds for every reported split its answers (kdfeatures.tasks) under its name, and the labels that they
    are held against as `labels/<split>`.
    """
    labels = {}
    if task.has_labels:
        labels = {f"labels/{name}": task_type(task).labels(split) for name, split in reported.items()}
    np.savez_compressed(folder / "logits.npz", **logits, **labels)
    write_card(folder, results, task)
    write_results(folder, results)
