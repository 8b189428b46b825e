"""From conf/trainer to TrainerSettings: what they cannot take is told before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any

import torch
from transformers import SchedulerType, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, get_available_reporting_integrations
from transformers.training_args import OptimizerNames

from kdfeatures.config.option_errors import option
from kdfeatures.config.schema import type_hints, typed
from kdfeatures.errors import UserError, nearest
from kdfeatures.ranges import MAX_COUNT, Count, NotNegative, OneOf, Positive, Range, check_values
from kdfeatures.tasks.task import Task
from kdfeatures.training.arguments import TrainerSettings
from kdfeatures.training.distributed import process_count

DEFAULT_SAVE_STEPS = 500  # of transformers
Strategy = Annotated[str, OneOf(("no", "steps", "epoch"))]
Decay = Annotated[float, Range(0, 1, below=True)]


@dataclass(frozen=True)
class TrainerRanges:
    """What options of the section `trainer` may be that transformers takes without a word, or refuses in its own."""

    learning_rate: Annotated[float, NotNegative]
    warmup_steps: Annotated[float, NotNegative]
    weight_decay: Annotated[float, NotNegative]
    num_train_epochs: Annotated[float, NotNegative]
    max_steps: Annotated[int, Range(-1, MAX_COUNT)]
    per_device_train_batch_size: Annotated[int, Count]
    per_device_eval_batch_size: Annotated[int, Count]
    gradient_accumulation_steps: Annotated[int, Count]
    tokens_per_batch: Annotated[int | None, Count]
    max_grad_norm: Annotated[float, NotNegative]
    adam_beta1: Decay
    adam_beta2: Decay
    adam_epsilon: Annotated[float, Positive]
    label_smoothing_factor: Decay
    dataloader_num_workers: Annotated[int, Range(0, 1000)]
    dataloader_prefetch_factor: Annotated[int | None, Count]
    eval_delay: Annotated[float, NotNegative]
    eval_steps: Annotated[float | None, Positive]
    save_steps: Annotated[float, Positive]
    logging_steps: Annotated[float, Positive]
    save_total_limit: Annotated[int | None, Count]
    projection_learning_rate: Annotated[float | None, NotNegative]
    projection_weight_decay: Annotated[float | None, NotNegative]
    early_stopping_patience: Annotated[int | None, Count]
    threads: Annotated[int | None, Range(1, 1024)]
    eval_strategy: Strategy
    save_strategy: Annotated[str, OneOf(("no", "steps", "epoch", "best"))]
    logging_strategy: Strategy
    train_sampling_strategy: Annotated[str, OneOf(("random", "sequential", "group_by_length"))]
    lr_scheduler_type: Annotated[str, OneOf(tuple(kind.value for kind in SchedulerType))]
    optim: Annotated[str, OneOf(tuple(name.value for name in OptimizerNames))]


def trainer_settings(node: Mapping[str, Any], task: Task) -> TrainerSettings:
    """Return the settings of the section `trainer`; raises UserError for values and combinations they do not take."""
    hints = {name: hint for name, hint in type_hints(TrainerSettings).items() if name != "arguments"}
    given = typed(node, {**type_hints(TrainingArguments), **hints, "fsdp": bool}, "trainer")
    with option("trainer"):
        check_values({key: _plain_word(value) for key, value in given.items()}, TrainerRanges)
    _check_numbers(given)
    _check_precision(given)
    _check_loggers(given["report_to"])
    _check_scoring(given, task)
    _check_best(given, task)
    _check_fsdp(given)
    settings = {name: given.pop(name) for name in hints}
    return TrainerSettings(given, **settings)


def _check_scoring(given: Mapping[str, Any], task: Task) -> None:
    """Raise UserError for settings that wait for scores where nothing is scored."""
    if task.metrics:
        return
    for name in ("load_best_model_at_end", "early_stopping_patience"):
        if given[name]:
            raise UserError(
                f"trainer.{name}={given[name]} needs scores, but no term reads an output that could have one."
            )


def _check_best(given: dict[str, Any], task: Task) -> None:
    """Raise UserError for a metric that no evaluation gives, and for checkpoints that none is of."""
    metric = given.get("metric_for_best_model")
    if metric is not None:
        combined = ("combined_score",) if len(task.metrics) > 1 else ()
        known = (*task.metrics, *combined, *(("perplexity",) if task.kind == "text" else ()))
        known = known if task.outputs == "vector" else (*known, "loss")
        given["metric_for_best_model"] = metric = str(metric).removeprefix("eval_")
        if metric not in known:
            raise UserError(
                f"trainer.metric_for_best_model={metric} is not measured on task '{task.name}'"
                f"{nearest(metric, known)}; choose from {', '.join(known)}, or name it in task.metrics."
            )
    save, evaluate = (str(given.get(f"{name}_strategy")).removeprefix("SaveStrategy.") for name in ("save", "eval"))
    if not given["load_best_model_at_end"] or save == "best":
        return
    if evaluate == "no":
        raise UserError(
            "trainer.load_best_model_at_end=true compares checkpoints by their scores, but trainer.eval_strategy=no "
            "gives none; set trainer.eval_strategy=epoch."
        )
    if save != evaluate:
        raise UserError(
            f"trainer.load_best_model_at_end=true needs a score of every checkpoint, but trainer.save_strategy={save} "
            f"and trainer.eval_strategy={evaluate}; set both to {evaluate}."
        )
    steps = given.get("eval_steps") or given["logging_steps"]
    saved = given.get("save_steps") or DEFAULT_SAVE_STEPS
    if save == "steps" and saved % steps:
        raise UserError(
            f"trainer.load_best_model_at_end=true needs a score of every checkpoint, but trainer.save_steps={saved:g} "
            f"is no multiple of the {steps:g} steps between evaluations (trainer.eval_steps, or logging_steps); set "
            f"+trainer.save_steps={steps:g}."
        )


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
    if given["max_steps"] < 1 and given["num_train_epochs"] <= 0:
        raise UserError(
            f"trainer.num_train_epochs={given['num_train_epochs']:g} and trainer.max_steps={given['max_steps']} leave "
            "no step to train; set one of them above 0."
        )
    if given["max_steps"] == 0:
        raise UserError("trainer.max_steps=0 trains nothing; set it to 1 or more, or to -1 for all epochs.")


def _plain_word(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def _check_precision(given: Mapping[str, Any]) -> None:
    if given.get("fp16") and not torch.cuda.is_available():
        raise UserError("trainer.fp16=true needs a GPU; use trainer.bf16=true, or leave it out.")


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
