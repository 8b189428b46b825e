"""The Trainer of a run, and the run itself."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    ProgressCallback,
    Trainer,
    TrainingArguments,
)
from transformers.trainer_callback import PrinterCallback
from transformers.trainer_utils import IntervalStrategy

from kdfeatures.distillation.distiller import Distiller
from kdfeatures.errors import UserError
from kdfeatures.evaluation.encoded import token_counts
from kdfeatures.evaluation.validation import ValidationScores
from kdfeatures.losses.labels import IGNORE_INDEX, HardLabel
from kdfeatures.models.costs import operations_per_token
from kdfeatures.models.tokenizers import limited
from kdfeatures.runtime.threads import threads_for, torch_threads
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.training.arguments import TrainerSettings
from kdfeatures.training.callbacks import Screen
from kdfeatures.training.distributed import is_first
from kdfeatures.training.finite import check_parameters
from kdfeatures.training.fsdp import check_checkpoint, shard_by_layer
from kdfeatures.training.length_batched import LengthBatchedTrainer
from kdfeatures.training.signals import stopping_between_steps
from kdfeatures.training.trainer import DistillationTrainer

logger = logging.getLogger(__name__)

STATE = "trainer_state.json"


def make_trainer(
    model: PreTrainedModel | Distiller,
    arguments: TrainingArguments,
    settings: TrainerSettings,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    train: Dataset,
    validation: Dataset | None,
    on_first_batch: Callable[[dict[str, Any]], None] | None = None,
    *,
    loss: HardLabel | None = None,
) -> LengthBatchedTrainer:
    """Return the Trainer of a Distiller or of a plain classifier. validation: None when the data have none.

    on_first_batch: for a Distiller, see DistillationTrainer. loss: of a plain classifier whose classes are weighed;
    with None, or weights that are all alike, it is the model's own.
    """
    if validation is None and arguments.eval_strategy != "no":
        strategy = IntervalStrategy(arguments.eval_strategy).value
        raise UserError(
            f"trainer.eval_strategy={strategy} needs a validation split, but task {task.name} has none; set "
            "trainer.eval_strategy=no."
        )
    if arguments.label_smoothing_factor and not isinstance(model, Distiller):
        if task.outputs != "classes" or loss is not None:
            why = (
                "with class_weights"
                if task.outputs == "classes"
                else f"on task {task.name}, whose outputs are no classes"
            )
            raise UserError(
                f"trainer.label_smoothing_factor={arguments.label_smoothing_factor} has no effect {why}; leave it out."
            )
    kind = task_type(task)
    student = model.student if isinstance(model, Distiller) else model
    assert isinstance(student, PreTrainedModel)
    tokenizer = limited(tokenizer, student)  # it is saved beside the student
    if arguments.fsdp:
        shard_by_layer(model, student)
    options: dict[str, Any] = {
        "args": arguments,
        "tokens_per_batch": settings.tokens_per_batch,
        "train_dataset": train,
        "eval_dataset": validation,
        "data_collator": kind.collator(tokenizer, task, rows=isinstance(model, Distiller), seed=arguments.seed),
        "processing_class": tokenizer,
        "compute_metrics": None if validation is None else _scores_on(validation, task),
        "preprocess_logits_for_metrics": kind.kept,
    }
    if loss is not None and loss.class_weights is not None:
        loss.to(arguments.device)
        options["compute_loss_func"] = partial(_weighed_loss, loss)
    if settings.early_stopping_patience is not None:
        if not arguments.load_best_model_at_end:
            raise UserError(
                f"trainer.early_stopping_patience={settings.early_stopping_patience} needs "
                "trainer.load_best_model_at_end=true."
            )
        options["callbacks"] = [EarlyStoppingCallback(settings.early_stopping_patience)]
    if isinstance(model, Distiller):
        trainer: LengthBatchedTrainer = DistillationTrainer(
            model,
            projection_learning_rate=settings.projection_learning_rate,
            projection_weight_decay=settings.projection_weight_decay,
            on_first_batch=on_first_batch,
            **options,
        )
    else:
        trainer = LengthBatchedTrainer(model, **options)
    trainer.threads = settings.threads or threads_for(_step_operations(model, trainer))
    trainer.label_names = list(kind.label_names)
    for noisy in (PrinterCallback, ProgressCallback):
        trainer.remove_callback(noisy)
    trainer.add_callback(Screen(lines=bool(arguments.disable_tqdm)))
    if not arguments.disable_tqdm:
        trainer.add_callback(_Progress)
    return trainer


def _scores_on(split: Dataset, task: Task) -> ValidationScores:
    kind = task_type(task)
    of_split = {"dataset": split, "task": task}
    return ValidationScores(split, partial(kind.gathered, **of_split), partial(kind.score, **of_split))


def train(trainer: LengthBatchedTrainer, checkpoint: str | None) -> float:
    """Train, from a checkpoint if there is one, save model and trainer state, and return the seconds it took in all.

    All processes return once the model is saved. Raises Stopped for Ctrl-C and SIGTERM, after a checkpoint.
    """
    check_checkpoint(checkpoint, fsdp=trainer.is_fsdp_enabled)
    if is_first():
        logger.info(training_line(trainer))
    trainer.started = time.monotonic()
    if checkpoint is None or not trainer.take_end(checkpoint):
        with torch_threads(trainer.threads), stopping_between_steps(trainer):
            trainer.train(resume_from_checkpoint=checkpoint)
    seconds = trainer.seconds
    assert trainer.model is not None
    check_parameters(trainer.model, "after training")
    trainer.save_model()
    trainer.save_state()
    trainer.accelerator.wait_for_everyone()
    return seconds


def training_line(trainer: LengthBatchedTrainer) -> str:
    """Return a line on what is about to be trained: examples, batches, device, threads, and where the log will be."""
    arguments, examples = trainer.args, trainer.train_dataset
    if isinstance(examples, Dataset):
        batches = len(trainer.get_train_dataloader())
        counted = f"{len(examples):,} examples in {batches:,} batches an epoch"
    else:
        counted = "a stream of examples"
    length = f"{arguments.max_steps:,} steps" if arguments.max_steps > 0 else f"{arguments.num_train_epochs:g} epochs"
    threads = trainer.threads or torch.get_num_threads()
    where = f"{threads} thread{'s' if threads > 1 else ''}" if arguments.device.type == "cpu" else "one a process"
    return (
        f"Training: {counted}, {length}; device {arguments.device} ({where}); the log is kept in "
        f"{Path(str(arguments.output_dir)) / STATE}."
    )


def _step_operations(model: PreTrainedModel | Distiller, trainer: LengthBatchedTrainer) -> float:
    """Return about how many floating-point operations a training step takes; infinity where lengths are not known."""
    if not isinstance(trainer.train_dataset, Dataset):
        return math.inf
    lengths = token_counts(trainer.train_dataset).double()
    tokens = trainer.tokens_per_batch or trainer.args.per_device_train_batch_size * float(lengths.mean())
    trained, frozen = (model.student, model.teachers.values()) if isinstance(model, Distiller) else (model, ())
    return tokens * (3 * operations_per_token(trained) + sum(map(operations_per_token, frozen)))


def _weighed_loss(loss: HardLabel, outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
    """Return the mean over a batch's labels, as the models' own losses are, whatever else a step sees."""
    known = ~labels.isnan().any(-1) if labels.is_floating_point() else labels != IGNORE_INDEX
    kept = labels[known]
    if not len(kept):
        return outputs.logits.sum() * 0.0
    return loss(outputs.logits[known], kept)


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
