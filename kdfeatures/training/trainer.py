"""The Hugging Face Trainer for a Distiller: logs every term, trains the projections, saves a clean student."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from datasets import IterableDataset
from torch import nn
from transformers.trainer import TRAINING_ARGS_NAME

from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.gradients import check_measurable, measure_terms
from kdfeatures.distillation.summary import first_batch
from kdfeatures.errors import UserError
from kdfeatures.mapping import DynamicLayerMap
from kdfeatures.training.callbacks import MapLog
from kdfeatures.training.checkpoints import HEADS, MAPS, saved_part
from kdfeatures.training.length_batched import LengthBatchedTrainer

PROJECTIONS = "projections.safetensors"
# what is saved beside the student, by where it is in a Distiller
PARTS = {"objective.projections.": PROJECTIONS, "objective.moving.": MAPS, "objective.alignments.": HEADS}
BALANCE = "balance.json"  # in a checkpoint: the gradient norms by which the terms are balanced


class DistillationTrainer(LengthBatchedTrainer):
    """Trains a Distiller; everything else (accumulation, bf16, DDP, FSDP, resume, callbacks) is the Trainer's own.

    The output folder and each checkpoint hold the student alone as a Hugging Face model, beside it the projections in
    `projections.safetensors`, the state of maps that move in `maps.safetensors`, and matched or mixed heads in
    `heads.safetensors`. The log has `loss/<term>`, the mean unweighted value of every term since the last log, and
    `weight/<term>` and `temperature/<term>`, the present values of those that follow a schedule. With an Objective's
    `balance`, weights follow the terms' gradients; the log then has all weights and `gradient/<term>`, the smoothed
    norm of each unweighted term's gradient on the student. What maps that move add to it is in
    kdfeatures.training.callbacks.
    projection_learning_rate, projection_weight_decay: None takes the student's.
    on_first_batch: called once with kdfeatures.distillation.summary.first_batch of the first batch, in every process.
    """

    loss_is_scaled_for_ga = False

    def __init__(
        self,
        model: Distiller,
        *args,
        projection_learning_rate: float | None = None,
        projection_weight_decay: float | None = None,
        on_first_batch: Callable[[dict[str, Any]], None] | None = None,
        **kwargs,
    ) -> None:
        super().__init__(model, *args, **kwargs)
        self.projection_learning_rate = projection_learning_rate
        self.projection_weight_decay = projection_weight_decay
        self._on_first_batch = on_first_batch
        self._step: int | None = None
        check_measurable(self.args, balanced=self._balance is not None, explained=on_first_batch is not None)
        model.objective.check_training(self.args, streaming=isinstance(self.train_dataset, IterableDataset))
        if self._maps:
            self.add_callback(MapLog(self))
        self._sums: dict[str, torch.Tensor] = {}
        self._batches = 0

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """Build one optimiser with a group each, decayed or not, for student, projections, mixes of heads, and maps."""
        if self.optimizer is None:
            model = self.model if model is None else model
            optimizer_class, options = self.get_optimizer_cls_and_kwargs(self.args, model)
            decayed = set(self.get_decay_parameter_names(model))
            groups: dict[tuple[str, bool], list] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((self._part(name), name in decayed), []).append(parameter)
            self.optimizer = optimizer_class(
                [
                    {"params": parameters, **self._group_options(part, decays)}
                    for (part, decays), parameters in sorted(groups.items(), key=lambda group: group[0])
                ],
                **options,
            )
        return self.optimizer

    def _part(self, name: str) -> str:
        """Return what a parameter belongs to: "" the student, "projections", or "of_TERM" the map of a term."""
        _, inside, own = name.partition("objective.")
        part, _, below = own.partition(".")
        return below.split(".")[0] if part == "moving" else part if inside else ""

    def _group_options(self, part: str, decays: bool) -> dict[str, float]:
        if part.startswith("of_"):
            return {"lr": self._maps[part.removeprefix("of_")].learning_rate, "weight_decay": 0.0}
        learning_rate, weight_decay, is_projection = self.args.learning_rate, self.args.weight_decay, part != ""
        if is_projection and self.projection_learning_rate is not None:
            learning_rate = self.projection_learning_rate
        if is_projection and self.projection_weight_decay is not None:
            weight_decay = self.projection_weight_decay
        return {"lr": learning_rate, "weight_decay": weight_decay if decays else 0.0}

    @property
    def _maps(self) -> dict[str, DynamicLayerMap]:
        return self.model.objective.maps

    @property
    def _balance(self) -> GradientBalancer | None:
        return self.model.objective.balance

    def training_step(self, *args, **kwargs) -> torch.Tensor:
        objective, step = self.model.objective, self.state.global_step
        if step != self._step:  # the further batches of a step have its weights, whatever its first one has shown
            self._step = step
            objective.advance(step / self.state.max_steps)
            for one in self._maps.values():
                one.advance(step, int(self.state.epoch or 0))
            if self._on_first_batch is not None or (self._balance is not None and self._balance.due(step)):
                objective.attached = {}
        return super().training_step(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if model.training:
            if self.model.objective.attached is not None:
                self._measure(inputs["input_ids"].shape)
            weight = self.batch_weight(inputs)
            for name, value in self.model.parts.items():
                self._sums[name] = self._sums.get(name, 0.0) + weight * value
            self._batches += 1
        return result

    def _measure(self, shape: Sequence[int]) -> None:
        """Take the terms of this batch apart: for the balance, and for who waits for the first batch."""
        objective = self.model.objective
        values, objective.attached = objective.attached, None
        rows = measure_terms(values, self.model.student, objective.projections)
        if self._on_first_batch is not None:
            total = sum(objective.weights[name] * value for name, value in values.items())
            rows = torch.cat([rows, measure_terms({"total": total}, self.model.student, objective.projections)])
        found = self.accelerator.reduce(rows, "mean").tolist()
        if self._balance is not None and self._balance.due(self._step):
            self._balance.note({name: norm for name, (_, norm, _) in zip(values, found, strict=False)})
        if self._on_first_batch is not None:
            self._on_first_batch(first_batch(objective, found, step=self._step + 1, shape=shape))
            self._on_first_batch = None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._batches and ("loss" in logs or "train_loss" in logs):  # a window, or the end of training
            means = torch.stack(list(self._sums.values())) / self._batches
            means = self.accelerator.reduce(means, "mean").tolist()
            logs |= {f"loss/{name}": round(value, 6) for name, value in zip(self._sums, means, strict=True)}
            logs |= {name: float(f"{value:.6g}") for name, value in self.model.objective.scheduled().items()}
            self._sums, self._batches = {}, 0
        super().log(logs, start_time)

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save:
            return
        folder = Path(output_dir if output_dir is not None else self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        state = self.model.state_dict() if state_dict is None else state_dict
        self.model.student.save_pretrained(folder, state_dict=_below(state, "student."))
        for prefix, file in PARTS.items():
            if part := _below(state, prefix):
                safetensors.torch.save_file(part, folder / file)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        torch.save(self.args, folder / TRAINING_ARGS_NAME)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self._balance is not None and self.args.should_save:
            (Path(output_dir) / BALANCE).write_text(json.dumps(self._balance.norms), encoding="utf-8")

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self._balance is None or checkpoint is None:
            return
        file = Path(checkpoint) / BALANCE
        if not file.exists():
            raise UserError(
                f"{checkpoint} was written with balance=off; resume with the same, or start anew with "
                "existing=overwrite."
            )
        self._balance.norms = json.loads(file.read_text(encoding="utf-8"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        if self.is_fsdp_enabled:  # then the checkpoint has the whole Distiller beside the clean student
            super()._load_from_checkpoint(resume_from_checkpoint, model=self.model)
            return
        super()._load_from_checkpoint(resume_from_checkpoint, model=self.model.student)
        objective, folder = self.model.objective, Path(resume_from_checkpoint)
        if objective.projections.state_dict():
            objective.projections.load_state_dict(safetensors.torch.load_file(folder / PROJECTIONS))
        objective.moving.load_state_dict(saved_part(folder, MAPS, objective.moving))
        objective.alignments.load_state_dict(saved_part(folder, HEADS, objective.alignments))

    def _load_best_model(self) -> None:
        self._load_from_checkpoint(self.state.best_model_checkpoint)


def take_projections(projections: nn.Module, folders: Iterable[Path]) -> None:
    """Load, in place, what the runs in `folders` saved under the same name and in the same shape; later ones win."""
    own = projections.state_dict()
    for folder in folders:
        if (folder / PROJECTIONS).exists():
            saved = safetensors.torch.load_file(folder / PROJECTIONS)
            own |= {name: x for name, x in saved.items() if name in own and x.shape == own[name].shape}
    projections.load_state_dict(own)


def _below(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
