"""The Hugging Face Trainer for a student that learns from a teacher's features, logits and the labels."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from datasets import IterableDataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.utils import SAFE_WEIGHTS_NAME, find_labels

from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.gradients import check_measurable, measure_terms
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.recipe import Recipe, single_objective
from kdfeatures.distillation.summary import first_batch
from kdfeatures.embeddings.folder import write_modules
from kdfeatures.embeddings.pooling import pooling_of
from kdfeatures.errors import ConfigError
from kdfeatures.mapping import DEFAULT_TEACHER, DynamicLayerMap
from kdfeatures.models.limits import token_limit
from kdfeatures.tasks.label_order import columns_of
from kdfeatures.training.callbacks import MapLog
from kdfeatures.training.checkpoints import HEADS, LOSSES, MAPS, VECTORS, saved_part
from kdfeatures.training.collators import default_collator
from kdfeatures.training.columns import forward_columns
from kdfeatures.training.finite import check_batch
from kdfeatures.training.length_batched import LengthBatchedTrainer

PROJECTIONS = "projections.safetensors"
# what is saved beside the student, by where it is in a Distiller
PARTS = {
    "objective.projections.": PROJECTIONS,
    "objective.moving.": MAPS,
    "objective.alignments.": HEADS,
    "objective.losses.": LOSSES,
    "objective.vector_maps.": VECTORS,
}
BALANCE = "balance.json"  # in a checkpoint: the gradient norms by which the terms are balanced


class DistillationTrainer(LengthBatchedTrainer):
    """Trains a student on an objective; all else (accumulation, bf16, DDP, FSDP, resume, callbacks) is the Trainer's.

    Args:
        model: the student: a transformers model or a module of one's own; or a Distiller that holds all of it.
        args: ordinary TrainingArguments. Columns of the dataset that no model takes are left out, as by the Trainer.
        teacher_model: who is learned from; several as {name: model}, the first one the default.
        objective: an Objective, or a Recipe of one stage.
        data_collator: None takes what head and dataset ask for (kdfeatures.training.collators).
        train_dataset, eval_dataset, processing_class, and more: as for transformers' Trainer.
        student_encoder, teacher_encoder: dotted path of the transformers encoder inside a module of one's own; needed
            where layers are compared.
        same_ids: see Distiller; a teacher with another tokenizer reads what kdfeatures.encode_for_both makes.
        tokens_per_batch: see LengthBatchedTrainer.
        projection_learning_rate, projection_weight_decay: None takes the student's.
        on_first_batch: called once with kdfeatures.distillation.summary.first_batch of the first batch, in every
            process.

    Raises:
        ConfigError: before anything is trained, for whatever does not fit: layers, heads, labels, arguments.

    The teacher's classes are brought into the student's order by their names. The output folder and each checkpoint
    hold the student alone as a Hugging Face model, beside it the projections in `projections.safetensors`, the state of
    maps that move in `maps.safetensors`, and matched or mixed heads in `heads.safetensors`. The log has `loss/<term>`,
    the mean unweighted value of every term since the last log, and `weight/<term>` and `temperature/<term>`, the
    present values of those that follow a schedule. With an Objective's `balance`, weights follow the terms' gradients;
    the log then has all weights and `gradient/<term>`, the smoothed norm of each unweighted term's gradient on the
    student. What maps that move add to it is in kdfeatures.training.callbacks.
    """

    @property
    def distiller(self) -> Distiller:
        """The model, as what it is: student, projections and objective."""
        model: Any = self.model
        return model

    def __init__(
        self,
        model: nn.Module,
        args: TrainingArguments | None = None,
        data_collator: Callable[[list[Any]], dict[str, Any]] | None = None,
        train_dataset: Any = None,
        eval_dataset: Any = None,
        processing_class: PreTrainedTokenizerBase | None = None,
        *,
        teacher_model: nn.Module | Mapping[str, nn.Module] | None = None,
        objective: Objective | Recipe | None = None,
        student_encoder: str | None = None,
        teacher_encoder: str | None = None,
        same_ids: bool = False,
        projection_learning_rate: float | None = None,
        projection_weight_decay: float | None = None,
        on_first_batch: Callable[[dict[str, Any]], None] | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(model, Distiller):
            distiller = model
        else:
            distiller = _distiller(model, teacher_model, objective, student_encoder, teacher_encoder, same_ids)
        if args is not None and args.label_smoothing_factor:
            raise ConfigError(
                "has no effect here",
                argument="label_smoothing_factor",
                value=args.label_smoothing_factor,
                hint="the objective's terms say how labels count",
            )
        distiller.objective.check_fitted()
        if data_collator is None:
            data_collator = default_collator(distiller.student, train_dataset, processing_class)
        super().__init__(
            distiller,
            args,
            data_collator,
            train_dataset=train_dataset,
            eval_dataset=eval_dataset,
            processing_class=processing_class,
            **kwargs,
        )
        if self.args.label_names is None:
            self.label_names = find_labels(type(distiller.student)) or ["labels"]
        self.projection_learning_rate = projection_learning_rate
        self.projection_weight_decay = projection_weight_decay
        self._on_first_batch = on_first_batch
        self._step: int | None = None
        check_measurable(
            sharded=bool(self.args.fsdp),
            compiled=self.args.torch_compile,
            balanced=self._balance is not None,
            explained=on_first_batch is not None,
        )
        distiller.objective.check_training(
            sharded=bool(self.args.fsdp),
            streaming=isinstance(self.train_dataset, IterableDataset),
            checkpointed=bool(self.args.activation_checkpointing),
            compiled=self.args.torch_compile,
        )
        if self._maps:
            self.add_callback(MapLog(self, distiller.objective))
        self._sums: dict[str, torch.Tensor] = {}
        self._batches = 0

    def _set_signature_columns_if_needed(self) -> None:
        if self._signature_columns is None:
            columns: Any = forward_columns(self.distiller, self.processing_class, self.label_names)
            self._signature_columns = columns  # which the Trainer declares as None

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        """Build one optimiser with a group each, decayed or not, for student, projections, mixes of heads, and maps."""
        if self.optimizer is None:
            model = self.model if model is None else model
            optimizer_class, options = self.optimizer_cls_and_kwargs or self.get_optimizer_cls_and_kwargs(
                self.args, model
            )
            learning_rate = options.get("lr", self.args.learning_rate)
            decayed = set(self.get_decay_parameter_names(model))
            groups: dict[tuple[str, bool], list] = {}
            for name, parameter in model.named_parameters():
                if parameter.requires_grad:
                    groups.setdefault((self._part(name), name in decayed), []).append(parameter)
            self.optimizer = optimizer_class(
                [
                    {"params": parameters, **self._group_options(part, decays, learning_rate)}
                    for (part, decays), parameters in sorted(groups.items(), key=lambda group: group[0])
                ],
                **options,
            )
        return self.optimizer

    def _part(self, name: str) -> str:
        """Return what a parameter belongs to: "" the student, "projections", or "of_TERM" the map of a term."""
        path = name.split(".")
        side = next(at for at, step in enumerate(path) if step in ("student", "objective"))  # wrappers come before it
        if path[side] == "student":
            return ""
        part, below = path[side + 1 : side + 3]
        return below if part == "moving" else part

    def _group_options(self, part: str, decays: bool, learning_rate: float) -> dict[str, float]:
        if part.startswith("of_"):
            of_map = self._maps[part.removeprefix("of_")].learning_rate
            assert of_map is not None  # as of all maps with parameters
            return {"lr": of_map, "weight_decay": 0.0}
        weight_decay, is_projection = self.args.weight_decay, part != ""
        if is_projection and self.projection_learning_rate is not None:
            learning_rate = self.projection_learning_rate
        if is_projection and self.projection_weight_decay is not None:
            weight_decay = self.projection_weight_decay
        return {"lr": learning_rate, "weight_decay": weight_decay if decays else 0.0}

    @property
    def _maps(self) -> dict[str, DynamicLayerMap]:
        return self.distiller.objective.maps

    @property
    def _balance(self) -> GradientBalancer | None:
        return self.distiller.objective.balance

    def training_step(self, *args, **kwargs) -> torch.Tensor:
        objective, step = self.distiller.objective, self.state.global_step
        if step != self._step:  # the further batches of a step have its weights, whatever its first one has shown
            self._step = step
            objective.advance(step / self.state.max_steps)
            for dynamic in self._maps.values():
                dynamic.advance(step, int(self.state.epoch or 0))
            if self._on_first_batch is not None or (self._balance is not None and self._balance.due(step)):
                objective.attached = {}
        return super().training_step(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        result = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if model.training:
            if self.distiller.objective.attached is not None:
                self._measure(next(iter(inputs.values())).shape)
            weight = self.batch_weight(inputs)
            for name, value in self.distiller.parts.items():
                self._sums[name] = self._sums.get(name, 0.0) + weight * value
            self._batches += 1
        return result

    def check_loss(self, loss: torch.Tensor, inputs: dict[str, Any]) -> None:
        distiller = self.distiller
        asked = None if self.is_fsdp_enabled else partial(distiller.teacher_outputs, **inputs)
        check_batch(loss.detach(), self.state.global_step + 1, distiller.parts, inputs, self, asked)

    def _measure(self, shape: Sequence[int]) -> None:
        """Take the terms of this batch apart: for the balance, and for who waits for the first batch."""
        objective, student, step = self.distiller.objective, self.distiller.student, self.state.global_step
        values, objective.attached = objective.attached, None
        assert values is not None
        rows = measure_terms(values, student, objective.projections)
        if self._on_first_batch is not None:
            weighted = (objective.weights[name] * value for name, value in values.items())
            total = sum(weighted, start=torch.zeros((), device=rows.device))
            rows = torch.cat([rows, measure_terms({"total": total}, student, objective.projections)])
        means = self.accelerator.reduce(rows, "mean").tolist()
        if self._balance is not None and self._balance.due(step):
            self._balance.note({name: norm for name, (_, norm, _) in zip(values, means, strict=False)})
        if self._on_first_batch is not None:
            self._on_first_batch(first_batch(objective, means, step=step + 1, shape=shape))
            self._on_first_batch = None

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._batches and ("loss" in logs or "train_loss" in logs):  # a window, or the end of training
            means = torch.stack(list(self._sums.values())) / self._batches
            means = self.accelerator.reduce(means, "mean").tolist()
            logs |= {f"loss/{name}": round(value, 6) for name, value in zip(self._sums, means, strict=True)}
            logs |= {name: float(f"{value:.6g}") for name, value in self.distiller.objective.scheduled().items()}
            self._sums, self._batches = {}, 0
        super().log(logs, start_time)

    def measured(self) -> dict[str, Any]:
        sums = list(self._sums.values())
        means = self.accelerator.reduce(torch.stack(sums), "mean").tolist() if sums else []
        return super().measured() | {"terms": dict(zip(self._sums, means, strict=True)), "batches": self._batches}

    def take_measured(self, measured: dict[str, Any]) -> None:
        super().take_measured(measured)
        device = self.args.device
        self._sums = {name: torch.tensor(value, device=device) for name, value in measured["terms"].items()}
        self._batches = measured["batches"]

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        if not self.args.should_save:
            return
        chosen = output_dir if output_dir is not None else self.args.output_dir
        assert chosen is not None  # TrainingArguments have a default
        folder = Path(chosen)
        folder.mkdir(parents=True, exist_ok=True)
        state = self.distiller.state_dict() if state_dict is None else state_dict
        student = self.distiller.student
        if isinstance(student, PreTrainedModel):
            student.save_pretrained(folder, state_dict=_below(state, "student."))
            self._save_pooling(student, folder)
        else:
            safetensors.torch.save_model(student, str(folder / SAFE_WEIGHTS_NAME))
        for prefix, file in PARTS.items():
            if part := _below(state, prefix):
                safetensors.torch.save_file(part, folder / file)
        if self.processing_class is not None:
            self.processing_class.save_pretrained(folder)
        torch.save(self.args, folder / TRAINING_ARGS_NAME)

    def _save_pooling(self, student: PreTrainedModel, folder: Path) -> None:
        """Let sentence-transformers load a student that makes vectors."""
        pooling = pooling_of(student)
        if pooling is not None:
            of_tokenizer = getattr(self.processing_class, "model_max_length", None)
            limits = [limit for limit in (of_tokenizer, token_limit(student)) if limit is not None]
            write_modules(folder, pooling, width=student.config.hidden_size, limit=min(limits, default=None))

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
            raise ConfigError(
                f"{checkpoint} was written without a balance",
                hint="resume with the same, or start anew",
                key="checkpoint.balance",
                checkpoint=checkpoint,
            )
        self._balance.norms = json.loads(file.read_text(encoding="utf-8"))

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        if self.is_fsdp_enabled:  # then the checkpoint has the whole Distiller beside the clean student
            super()._load_from_checkpoint(resume_from_checkpoint, model=self.model)
            return
        super()._load_from_checkpoint(resume_from_checkpoint, model=self.distiller.student)
        objective, folder = self.distiller.objective, Path(resume_from_checkpoint)
        if objective.projections.state_dict():
            objective.projections.load_state_dict(safetensors.torch.load_file(folder / PROJECTIONS))
        objective.moving.load_state_dict(saved_part(folder, MAPS, objective.moving))
        objective.alignments.load_state_dict(saved_part(folder, HEADS, objective.alignments))
        objective.losses.load_state_dict(saved_part(folder, LOSSES, objective.losses))
        objective.vector_maps.load_state_dict(saved_part(folder, VECTORS, objective.vector_maps))

    def _load_best_model(self) -> None:
        best = self.state.best_model_checkpoint
        assert best is not None  # or the Trainer does not call this
        self._load_from_checkpoint(best)


def take_projections(objective: BoundObjective, folders: Iterable[Path]) -> None:
    """Load, in place, what the runs in `folders` saved under the same name and in the same shape; later ones win.

    Of hidden states and of vectors of texts.
    """
    for projections, file in ((objective.projections, PROJECTIONS), (objective.vector_maps, VECTORS)):
        state = projections.state_dict()
        for folder in folders:
            if (folder / file).exists():
                saved = safetensors.torch.load_file(folder / file)
                fitting = {name: x for name, x in saved.items() if name in state and x.shape == state[name].shape}
                state |= fitting
        projections.load_state_dict(state)


def _below(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _distiller(
    student: nn.Module,
    teacher: nn.Module | Mapping[str, nn.Module] | None,
    objective: Objective | Recipe | BoundObjective | None,
    student_encoder: str | None,
    teacher_encoder: str | None,
    same_ids: bool,
) -> Distiller:
    if objective is None:
        raise ConfigError(
            "what the student shall learn is not said",
            hint="give objective=Objective(...) or objective=recipe('tinybert_joint')",
        )
    if isinstance(objective, Recipe):
        objective = single_objective(objective)
    if not isinstance(objective, (Objective, BoundObjective)):
        raise ConfigError(
            "is no objective",
            argument="objective",
            value=repr(objective),
            hint="give Objective(...), such as Objective({'logits': LogitKD()}), or recipe('tinybert_joint')",
        )
    if teacher is None:
        learning = [name for name, term in objective.terms.items() if term.loss.inputs != "labels"]
        if learning:
            raise ConfigError(f"the term '{learning[0]}' learns from a teacher", hint="give teacher_model=...")
    teachers = teacher if isinstance(teacher, Mapping) else {DEFAULT_TEACHER: teacher}
    columns = {name: columns_of(model, student) for name, model in teachers.items() if model is not None}
    return Distiller(
        student,
        teachers,
        objective,
        columns,
        student_encoder=student_encoder,
        teacher_encoder=teacher_encoder,
        same_ids=same_ids,
    )
