"""From conf/trainer to TrainingArguments: what they cannot take is told before anything is loaded into them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, get_type_hints

import torch
from omegaconf import DictConfig, OmegaConf
from transformers import TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations

from kdfeatures.config.schema import typed
from kdfeatures.errors import UserError, nearest
from kdfeatures.evaluation.metrics import main_metric
from kdfeatures.tasks.task import Task
from kdfeatures.training.distributed import process_count
from kdfeatures.training.fsdp import CONFIG

AT_LEAST_ONE = (
    "per_device_train_batch_size",
    "per_device_eval_batch_size",
    "gradient_accumulation_steps",
    "tokens_per_batch",
)

# settings of conf/trainer that are not TrainingArguments
OWN_SETTINGS = {
    "tokens_per_batch": int | None,
    "projection_learning_rate": float | None,
    "projection_weight_decay": float | None,
    "early_stopping_patience": int | None,
}


def training_arguments(
    settings: DictConfig, output_dir: Path, task: Task, *, seed: int, find_unused_parameters: bool
) -> TrainingArguments:
    """Turn conf/trainer into TrainingArguments; raises UserError for a setting or value they do not take."""
    given = OmegaConf.to_container(settings, resolve=True)
    given = typed(given, get_type_hints(TrainingArguments) | OWN_SETTINGS | {"fsdp": bool}, "trainer")
    _check_numbers(given)
    _check_loggers(given["report_to"])
    _check_scoring(given, task)
    given = {name: value for name, value in given.items() if name not in OWN_SETTINGS}
    _check_fsdp(given)
    try:
        return TrainingArguments(
            output_dir=str(output_dir),
            seed=seed,
            data_seed=seed,
            use_cpu=not torch.cuda.is_available(),
            metric_for_best_model=main_metric(task),
            greater_is_better=True,
            label_names=["labels"],
            remove_unused_columns=False,  # a Distiller's forward names no columns; `encode` makes no others
            ddp_find_unused_parameters=find_unused_parameters,
            fsdp_config=dict(CONFIG),  # a copy: TrainingArguments adds to it
            report_to=given.pop("report_to"),
            **given,
        )
    except (TypeError, ValueError, ImportError) as error:
        raise UserError(f"trainer: {str(error).splitlines()[0]}") from error


def _check_scoring(given: dict[str, Any], task: Task) -> None:
    """Leave out evaluations of what nothing scores; raise UserError for settings that wait for their scores."""
    if task.metrics:
        return
    for name in ("load_best_model_at_end", "early_stopping_patience"):
        if given[name]:
            raise UserError(
                f"trainer.{name}={given[name]} needs scores, but no term reads an output that could have one."
            )
    given["eval_strategy"] = "no"


def _check_fsdp(given: dict[str, Any]) -> None:
    if "fsdp_config" in given:
        raise UserError(
            "trainer.fsdp_config is not read; trainer.fsdp=true shards as kdfeatures/training/fsdp.py says."
        )
    if given["fsdp"] and process_count() == 1:
        raise UserError(
            "trainer.fsdp=true shards the student over processes, but there is one; start several with torchrun "
            "--nproc_per_node=N -m kdfeatures ..., or leave it out."
        )
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        raise UserError(
            "accelerate launch --use_fsdp is not read (all but one process would load a teacher without weights); "
            "start with --multi_gpu and set trainer.fsdp=true."
        )


def _check_numbers(given: dict[str, Any]) -> None:
    for name in AT_LEAST_ONE:
        if given[name] is not None and given[name] < 1:
            raise UserError(f"trainer.{name}={given[name]} must be at least 1.")
    if given["max_steps"] < 1 and given["num_train_epochs"] <= 0:
        raise UserError(
            f"trainer.num_train_epochs={given['num_train_epochs']:g} and trainer.max_steps={given['max_steps']} leave "
            "no step to train; set one of them above 0."
        )
    if given["learning_rate"] < 0:
        raise UserError(f"trainer.learning_rate={given['learning_rate']:g} must not be negative.")


def _check_loggers(report_to: str | list[str] | None) -> None:
    for name in report_to if isinstance(report_to, list) else [str(report_to)]:
        if name in ("none", "all"):
            continue
        if name not in INTEGRATION_TO_CALLBACK:
            known = ("none", "all", *sorted(INTEGRATION_TO_CALLBACK))
            raise UserError(
                f"trainer.report_to={name} is unknown{nearest(name, known)}; choose from {', '.join(known)}."
            )
        if name not in get_available_reporting_integrations():
            raise UserError(f"trainer.report_to={name} is not installed; pip install it, or choose another logger.")
