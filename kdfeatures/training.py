"""From a trainer config to a finished training run."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, get_type_hints

import torch
from datasets import Dataset
from omegaconf import DictConfig, OmegaConf
from transformers import (
    DataCollatorWithPadding,
    EarlyStoppingCallback,
    EvalPrediction,
    PreTrainedTokenizerBase,
    ProgressCallback,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback

from kdfeatures.bucketed import BucketedTrainer
from kdfeatures.config import typed
from kdfeatures.distiller import Distiller
from kdfeatures.errors import UserError
from kdfeatures.metrics import main_metric, predictions_from_logits, score
from kdfeatures.processes import process_count
from kdfeatures.sharding import CONFIG, check_checkpoint, shard_by_layer
from kdfeatures.tasks import Task
from kdfeatures.trainer import DistillationTrainer

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


def _check_fsdp(given: dict[str, Any]) -> None:
    if "fsdp_config" in given:
        raise UserError("trainer.fsdp_config is not read; trainer.fsdp=true shards as kdfeatures/sharding.py says.")
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


def make_trainer(
    model: torch.nn.Module,
    arguments: TrainingArguments,
    settings: DictConfig,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset,
    validation: Dataset | None,
) -> Trainer:
    """Return the Trainer of a Distiller or of a plain classifier. validation: None when the data have none."""
    if validation is None and arguments.eval_strategy != "no":
        raise UserError(
            f"trainer.eval_strategy={arguments.eval_strategy} needs a validation split, but task {task.name} has none; "
            "set trainer.eval_strategy=no."
        )
    if arguments.fsdp:
        shard_by_layer(model, model.student if isinstance(model, Distiller) else model)
    options = {
        "args": arguments,
        "tokens_per_batch": settings.tokens_per_batch,
        "train_dataset": train,
        "eval_dataset": validation,
        "data_collator": DataCollatorWithPadding(tokenizer),
        "processing_class": tokenizer,
        "compute_metrics": lambda output: _metrics(output, task),
    }
    if settings.early_stopping_patience is not None:
        if not arguments.load_best_model_at_end:
            raise UserError(
                f"trainer.early_stopping_patience={settings.early_stopping_patience} needs "
                "trainer.load_best_model_at_end=true."
            )
        options["callbacks"] = [EarlyStoppingCallback(settings.early_stopping_patience)]
    if isinstance(model, Distiller):
        trainer = DistillationTrainer(
            model,
            projection_learning_rate=settings.projection_learning_rate,
            projection_weight_decay=settings.projection_weight_decay,
            **options,
        )
    else:
        trainer = BucketedTrainer(model, **options)
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    if not arguments.disable_tqdm:
        trainer.add_callback(_Progress)
    return trainer


def train(trainer: Trainer, checkpoint: str | None) -> float:
    """Train, from a checkpoint if there is one, save model and trainer state, and return the seconds it took.

    All processes return once the model is saved.
    """
    check_checkpoint(checkpoint, fsdp=trainer.is_fsdp_enabled)
    start = time.monotonic()
    trainer.train(resume_from_checkpoint=checkpoint)
    seconds = time.monotonic() - start
    trainer.save_model()
    trainer.save_state()
    trainer.accelerator.wait_for_everyone()
    return seconds


def last_losses(trainer: Trainer) -> dict[str, float]:
    """Return the mean unweighted value of every term since the last but one log, by name."""
    windows = [
        {name.removeprefix("loss/"): value for name, value in entry.items() if name.startswith("loss/")}
        for entry in trainer.state.log_history
    ]
    return next((terms for terms in reversed(windows) if terms), {})


class _Progress(ProgressCallback):
    """A progress bar that shows the loss, and leaves the log to the log files."""

    def on_log(self, args, state, control, logs=None, **kwargs) -> None:
        if self.training_bar is not None and logs and "loss" in logs:
            self.training_bar.set_postfix(loss=f"{logs['loss']:.4g}", refresh=False)


def _metrics(output: EvalPrediction, task: Task) -> dict[str, float]:
    logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
    return score(task.metrics, predictions_from_logits(logits, task), output.label_ids)
