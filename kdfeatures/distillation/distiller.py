"""One module that holds student, projections and objective, and looks at a frozen teacher."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ModelOutput

from kdfeatures.capture.recorder import Recorder
from kdfeatures.distillation.controls import features_of_other_texts
from kdfeatures.distillation.layerwise import LayerwiseLosses
from kdfeatures.distillation.objective import DEFAULT_TEACHER, Objective, Outputs, together
from kdfeatures.distillation.teacher_outputs import restore
from kdfeatures.errors import UserError
from kdfeatures.features import Features
from kdfeatures.tasks.label_order import reordered


class Distiller(nn.Module):
    """Student + projections + objective; forward returns the distillation loss in training, the plain student in eval.

    All that is trained is inside, so that accumulation, DDP and clipping see it. The teacher is frozen, always in eval
    mode, and neither a submodule nor in the state dict, so it is not wrapped, saved or switched to train mode.
    teacher_columns: teacher_logits[..., teacher_columns] are in the student's label order
    (kdfeatures.tasks.label_order).
    A batch with `rows`, (B, L), has models that give logits for tokens, and their losses see those of these rows only,
    (rows, C).
    A batch with `teacher_features` (kdfeatures.cache) leaves the teacher alone; if all have them, teacher may be None.
    others: further teachers by name, with their columns; `teacher_features` are then {name: features}, "main" included.
    permuted: those of the others that read other texts of the batch (kdfeatures.distillation.controls).
    """

    # the Trainer asks for it when a checkpoint lacks a tensor, as it does one that is tied to another
    _keys_to_ignore_on_save = None
    accepts_loss_kwargs = False  # the loss is a mean over this batch; the Trainer must divide when it accumulates

    def __init__(
        self,
        student: PreTrainedModel,
        teacher: PreTrainedModel | None,
        objective: Objective,
        teacher_columns: list[int] | None,
        *,
        others: Mapping[str, tuple[PreTrainedModel | None, list[int] | None]] | None = None,
        permuted: Collection[str] = (),
    ) -> None:
        super().__init__()
        self.student = student
        self.objective = objective
        self.teacher_columns = teacher_columns
        others = others or {}
        self.other_columns = {name: columns for name, (_, columns) in others.items()}
        self.permuted = frozenset(permuted)
        models = {DEFAULT_TEACHER: teacher} | {name: model for name, (model, _) in others.items()}
        # a tuple hides them from nn.Module
        self._unregistered = ({name: _frozen(model) for name, model in models.items() if model is not None},)
        self.parts: dict[str, Tensor] = {}  # the unweighted terms of the last training batch
        self._student_recorder = self._recorder(student, "student")
        self._student_recorder.attach()
        self._teacher_recorders: dict[str, Recorder] = {}
        for name, model in self.teachers.items():
            self._teacher_recorders[name] = self._recorder(model, "teacher", name)
            self._teacher_recorders[name].attach()

    def _recorder(self, model: PreTrainedModel, side: str, teacher: str = DEFAULT_TEACHER) -> Recorder:
        hidden, attention = (self.objective.layers(takes, side, teacher) for takes in ("hidden", "attention"))
        return Recorder(model, hidden=hidden, attention=attention)

    @property
    def teacher(self) -> PreTrainedModel | None:
        return self.teachers.get(DEFAULT_TEACHER)

    @property
    def teachers(self) -> dict[str, PreTrainedModel]:
        return self._unregistered[0]

    @property
    def config(self):
        """The student's config: what the Trainer and its loggers describe the run by."""
        return self.student.config

    def _apply(self, fn, recurse: bool = True):
        for teacher in self.teachers.values():
            teacher._apply(fn)  # follows .to(device)
        return super()._apply(fn, recurse)

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs: dict | None = None, **options) -> None:
        """Checkpoint the student. Re-entrant checkpointing is refused: it drops gradients of captured tensors."""
        kwargs = {"use_reentrant": False} | (activation_checkpointing_kwargs or {})
        if kwargs["use_reentrant"]:
            raise UserError(
                "checkpointing with use_reentrant=True loses the gradients of captured features; set it to false."
            )
        self.student.activation_checkpointing_enable(activation_checkpointing_kwargs=kwargs, **options)

    def detach(self) -> None:
        """Take the hooks off all models. The distiller cannot be trained afterwards."""
        for recorder in (self._student_recorder, *self._teacher_recorders.values()):
            recorder.detach()

    def forward(
        self,
        labels: Tensor | None = None,
        rows: Tensor | None = None,
        teacher_features: Mapping[str, Any] | None = None,
        **inputs: Tensor,
    ) -> ModelOutput:
        if not self.training:
            return self.student(**inputs, labels=labels)
        mask = inputs.get("attention_mask")
        if mask is None:
            mask = torch.ones_like(inputs["input_ids"])
        with torch.no_grad():
            if not self.objective.needs_teacher:
                teacher = Outputs(None, Features())
            elif teacher_features is None:
                teacher = self._gathered(lambda name, columns: self._ask_teacher(name, columns, inputs), mask, rows)
            else:
                cached = teacher_features if self.other_columns else {DEFAULT_TEACHER: teacher_features}
                teacher = self._gathered(lambda name, columns: restore(cached[name], columns), mask, rows)
        # checkpointing runs layers again in the backward pass, and whatever was computed inside them
        kept = (
            Features()
            if self.student.is_activation_checkpointing
            else self.objective.comparison(teacher.features, mask)
        )
        if isinstance(kept, LayerwiseLosses):
            teacher = teacher._replace(features=Features())  # the comparison drops them one by one
        with self._student_recorder.recording(kept):
            # an encoder without a head has none
            student = Outputs(getattr(self.student(**inputs), "logits", None), kept)
        if rows is not None:
            student, labels = student.at(rows), labels[rows]
        total, self.parts = self.objective(student, teacher, labels, mask)
        # no logits here: DDP takes every parameter that an output depends on for used, also when the loss is not
        return ModelOutput(loss=total)

    def _gathered(
        self, outputs_of: Callable[[str, list[int] | None], Outputs], mask: Tensor, rows: Tensor | None
    ) -> Outputs:
        """Return the outputs of the main teacher, or of all that some term learns from, as the objective takes them.

        rows: the tokens whose logits are compared, (B, L), or None.
        """

        def chosen(name: str, columns: list[int] | None) -> Outputs:
            outputs = outputs_of(name, columns)
            return outputs if rows is None else outputs.at(rows)

        if not self.other_columns:
            return chosen(DEFAULT_TEACHER, self.teacher_columns)
        columns = {DEFAULT_TEACHER: self.teacher_columns, **self.other_columns}
        found = {name: chosen(name, own) for name, own in columns.items() if self.objective.needs(name)}
        for name in self.permuted & found.keys():
            found[name] = found[name]._replace(features=features_of_other_texts(found[name].features, mask))
        return together(found)

    def _ask_teacher(self, name: str, columns: list[int] | None, inputs: dict[str, Tensor]) -> Outputs:
        recorder = self._teacher_recorders[name]
        if not self.objective.needs_logits_of(name):
            return Outputs(None, recorder.run(**inputs))
        with recorder.recording() as features:
            logits = self.teachers[name](**inputs).logits
        return Outputs(reordered(logits, columns), features)


def _frozen(teacher: PreTrainedModel) -> PreTrainedModel:
    return teacher.eval().requires_grad_(False)
