"""One module that holds student, projections and objective, and looks at a frozen teacher."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import ModelOutput

from kdfeatures.alignment.tokens.teacher_inputs import ROWS, check_same_ids, groups_of, inputs_of_teacher
from kdfeatures.capture.decoder import DecoderTap
from kdfeatures.capture.recorder import Recorder
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.controls import features_of_other_texts
from kdfeatures.distillation.mixup.batches import BatchMixer
from kdfeatures.distillation.mixup.consistency import consistency
from kdfeatures.distillation.mixup.settings import check_mixable
from kdfeatures.distillation.objective import Objective
from kdfeatures.distillation.outputs import (
    attention_mask_of,
    check_outputs,
    logits_of,
    meaning_of,
    plain_output,
    predicts_vocabulary,
    split_labels,
    token_rows,
)
from kdfeatures.distillation.teacher_outputs import BatchOutputs, merge_teachers, reordered, restore
from kdfeatures.embeddings.pooling import pooling_of
from kdfeatures.errors import ConfigError
from kdfeatures.features import Features, FeatureSink, VocabularyLogits
from kdfeatures.mapping.pairs import DEFAULT_TEACHER

Model = TypeVar("Model", bound=nn.Module)


class Distiller(nn.Module):
    """Student + projections + objective; forward returns the distillation loss in training, the plain student in eval.

    All that is trained is inside, so that accumulation, DDP and clipping see it. The teacher is frozen, always in eval
    mode, and neither a submodule nor in the state dict, so it is not wrapped, saved or switched to train mode.

    Args:
        student: a transformers model, or a module of one's own that returns logits, or has `.logits`.
        teacher: the same; several as {name: model}, the first one the default. None when every batch brings
            `teacher_features` (kdfeatures.cache).
        objective: an Objective, which is bound to these models, or one that is bound already.
        teacher_columns: teacher_logits[..., teacher_columns] are in the student's label order; None keeps theirs. Of
            several teachers {name: columns}. An Objective refuses equal names of classes in another order without them.
        permuted: names of teachers that read other texts of the batch (kdfeatures.distillation.controls).
        student_encoder, teacher_encoder: dotted path of the transformers encoder inside a module of one's own.
        teacher_decoders: what makes logits over a vocabulary, by the teachers' names, for `teacher_features` that hold
            the states before it: `teacher.get_output_embeddings()`. They are frozen, and no part of the state dict.
        same_ids: one tokenizer makes the ids of all models, whatever their configs say. Else the first batch without
            `teacher_inputs` is refused where configs tell that a token has other ids.

    A batch holds what the student's forward takes, beside `labels`. A teacher with another tokenizer reads what
    `teacher_inputs` has under its name, and is compared by groups of tokens (kdfeatures.alignment.tokens). With `rows`,
    (B, L), models give logits for tokens, and losses see those of these rows only, (rows, C); without them `token_rows`
    chooses.
    """

    # the Trainer asks for it when a checkpoint lacks a tensor, as it does one that is tied to another
    _keys_to_ignore_on_save = None
    accepts_loss_kwargs = False  # the loss is a mean over this batch; the Trainer must divide when it accumulates

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module | Mapping[str, nn.Module | None] | None,
        objective: Objective | BoundObjective,
        teacher_columns: Sequence[int] | Mapping[str, Sequence[int] | None] | None = None,
        *,
        permuted: Collection[str] = (),
        student_encoder: str | None = None,
        teacher_encoder: str | None = None,
        same_ids: bool = False,
        teacher_decoders: Mapping[str, nn.Linear] | None = None,
    ) -> None:
        super().__init__()
        self.same_ids = same_ids
        teachers = dict(teacher) if isinstance(teacher, Mapping) else {DEFAULT_TEACHER: teacher}
        columns = teacher_columns if isinstance(teacher_columns, Mapping) else {next(iter(teachers)): teacher_columns}
        _check_apart(student, teachers)
        self._is_fitted = False  # as far as was asked
        self._scores = False  # whether a text has one score, so that labels (B, 1) are (B,)
        if isinstance(objective, Objective):
            ordered = [name for name, order in columns.items() if order is not None]
            check_outputs(student, teachers, objective, ordered)
            outputs = meaning_of(student)
            self._scores = outputs == "score"
            objective = objective.bind(
                student,
                teachers,
                outputs=outputs,
                student_encoder=student_encoder,
                teacher_encoder=teacher_encoder,
            )
        names = [DEFAULT_TEACHER if at == 0 else name for at, name in enumerate(teachers)]
        models = dict(zip(names, teachers.values(), strict=True))
        self.student = student
        self.objective = objective
        self.columns = {name: columns.get(alias) for name, alias in zip(names, teachers, strict=True)}
        self.permuted = frozenset(permuted)
        # tuples hide them from nn.Module
        self._unregistered = ({name: _frozen(model) for name, model in models.items() if model is not None},)
        decoders = teacher_decoders or {}
        of_teachers = ((name, decoders.get(alias)) for name, alias in zip(names, teachers, strict=True))
        self._decoders = ({name: _frozen(decoder) for name, decoder in of_teachers if decoder is not None},)
        self.parts: dict[str, Tensor] = {}  # the unweighted terms of the last training batch
        self._mixer: BatchMixer | None = None
        if objective.mixup is not None:  # before the recorders, which see what is mixed
            self._mixer = BatchMixer(
                [(student, student_encoder), *((x, teacher_encoder) for x in self.teachers.values())]
            )
        self._student_recorder = self._recorder(student, "student", student_encoder)
        self._student_recorder.attach()
        self._teacher_recorders: dict[str, Recorder] = {}
        for name, model in self.teachers.items():
            self._teacher_recorders[name] = self._recorder(model, "teacher", teacher_encoder, name)
            self._teacher_recorders[name].attach()
        self._taps = self._vocabulary_taps()
        self._accepted = _accepting(student), {name: _accepting(model) for name, model in self.teachers.items()}
        self._takes_labels = "labels" in self._accepted[0]({"labels": None})

    def _recorder(
        self,
        model: nn.Module,
        side: Literal["student", "teacher"],
        encoder: str | None,
        teacher: str = DEFAULT_TEACHER,
    ) -> Recorder:
        hidden, attention = (self.objective.layers(kind, side, teacher) for kind in ("hidden", "attention"))
        return Recorder(model, hidden=hidden, attention=attention, encoder=encoder)

    def _vocabulary_taps(self) -> dict[nn.Module, DecoderTap]:
        """Return what takes the states before their decoders from models whose logits are never kept as a whole.

        That is of a masked-language-model student whose terms compare rows alone, and of a single teacher beside it.
        """
        objective, (teacher, *others) = self.objective, [self.teachers.get(name) for name in self.columns]
        if not (objective.reaches_the_head and objective.reads_rows_alone and predicts_vocabulary(self.student)):
            return {}
        tap = DecoderTap.of(self.student)
        if tap is None:
            return {}
        taps = {self.student: tap}
        if teacher is not None and not others and self.columns[DEFAULT_TEACHER] is None:
            of_teacher = DecoderTap.of(teacher)
            if of_teacher is not None:
                taps[teacher] = of_teacher
        return taps

    def _run(self, model: nn.Module, recorder: Recorder, sink: FeatureSink, inputs: dict[str, Any]) -> tuple[Any, Any]:
        """Run a model while its features are recorded, and return its output, and its logits if they are not made."""
        tap = self._taps.get(model)
        compiled = torch.compiler.is_compiling() or getattr(model, "_compiled_call_impl", None) is not None
        if tap is None or compiled or not tap.is_whole:
            with recorder.recording(sink):
                return model(**inputs), None
        with recorder.recording(sink), tap.holding():
            output = model(**inputs)
        return output, tap.take()

    @property
    def teacher(self) -> nn.Module | None:
        return self.teachers.get(DEFAULT_TEACHER)

    @property
    def teachers(self) -> dict[str, nn.Module]:
        return self._unregistered[0]

    @property
    def config(self) -> Any:
        """The student's config, which the Trainer and its loggers describe the run by; none for a module without."""
        config = getattr(self.student, "config", None)
        if not isinstance(config, PreTrainedConfig):
            raise AttributeError("the student has no transformers config")
        return config

    def _apply(self, fn, recurse: bool = True):
        for teacher in self.teachers.values():
            teacher._apply(fn)  # follows .to(device)
        for decoder in self._decoders[0].values():
            decoder._apply(fn)
        return super()._apply(fn, recurse)

    def activation_checkpointing_enable(self, activation_checkpointing_kwargs: dict | None = None, **options) -> None:
        """Checkpoint the student. Re-entrant checkpointing is refused: it drops gradients of captured tensors."""
        kwargs = {"use_reentrant": False} | (activation_checkpointing_kwargs or {})
        if kwargs["use_reentrant"]:
            raise ConfigError(
                "checkpointing with use_reentrant=True loses the gradients of captured features", hint="set it to false"
            )
        student: Any = self.student  # of transformers, as whoever asks for this knows
        student.activation_checkpointing_enable(activation_checkpointing_kwargs=kwargs, **options)
        self._check_mixed(stored=False)

    def detach(self) -> None:
        """Take the hooks off all models. The distiller cannot be trained afterwards."""
        for recorder in (self._student_recorder, *self._teacher_recorders.values()):
            recorder.detach()
        for tap in self._taps.values():
            tap.detach()
        if self._mixer is not None:
            self._mixer.detach()

    def forward(
        self,
        labels: Tensor | None = None,
        rows: Tensor | None = None,
        teacher_features: Mapping[str, Any] | None = None,
        teacher_inputs: Mapping[str, Mapping[str, Tensor]] | None = None,
        **inputs: Any,
    ) -> ModelOutput:
        """Return the loss in training, and what the student returns in eval mode."""
        if not self.training:
            return self._evaluate(labels, inputs)
        labels, inputs = split_labels(labels, inputs)
        if not self._is_fitted:
            self.objective.check_fitted()
            self._is_fitted = True
        if self._scores and labels is not None and labels.ndim == 2:
            labels = labels[:, 0]
        if self._mixer is None:
            total, self.parts = self._compare(labels, rows, teacher_features, teacher_inputs, inputs)
        else:
            self._check_mixed(stored=teacher_features is not None)
            self.objective.check_other_tokenizers(teacher_inputs or ())
            total, self.parts = self._compare_mixed(self._mixer, inputs)
        # no logits here: DDP takes every parameter that an output depends on for used, also when the loss is not
        return ModelOutput(loss=total)

    def _check_mixed(self, *, stored: bool) -> None:
        """Raise ConfigError for a student that cannot read mixed texts as it is run, where it shall."""
        if self._mixer is None:
            return
        checkpointed = getattr(self.student, "is_activation_checkpointing", False)
        compiled = torch.compiler.is_compiling() or getattr(self.student, "_compiled_call_impl", None) is not None
        check_mixable(stored=stored, checkpointed=checkpointed, compiled=compiled)

    def _compare(
        self,
        labels: Tensor | None,
        rows: Tensor | None,
        teacher_features: Mapping[str, Any] | None,
        teacher_inputs: Mapping[str, Mapping[str, Tensor]] | None,
        inputs: dict[str, Any],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted total and the unweighted terms of a batch, comparing layers while the student runs."""
        mask = attention_mask_of(inputs)
        with torch.no_grad():
            teacher = self._teacher_outputs(inputs, mask, labels, rows, teacher_features, teacher_inputs)
        groups = groups_of(teacher_inputs, mask)
        self.objective.check_other_tokenizers(groups or ())
        # checkpointing runs layers again in the backward pass, and whatever was computed inside them
        layerwise, features = None, Features()
        if not getattr(self.student, "is_activation_checkpointing", False):
            layerwise = self.objective.layerwise(teacher.features, mask, groups)
            teacher = teacher._replace(features=Features())  # those compared are dropped one by one
        sink = features if layerwise is None else layerwise
        output, unmade = self._run(self.student, self._student_recorder, sink, self._accepted[0](inputs))
        student = BatchOutputs(logits_of(output, mask) if unmade is None else unmade, features)
        chosen = self._rows(student.logits, mask, labels, rows)
        if chosen is not None:
            student, labels = student.at(chosen), None if labels is None else labels[chosen]
        return self.objective(student, teacher, labels, mask, layerwise=layerwise, groups=groups)

    def _compare_mixed(self, mixer: BatchMixer, inputs: dict[str, Any]) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the same of a batch whose texts are mixed two and two; see Mixup."""
        mixup, features, value = self.objective.mixup, Features(), None
        assert mixup is not None
        share = mixup.draw()
        with mixer.mixing(inputs, share) as mixed:
            mask = attention_mask_of(mixed)
            with torch.no_grad():
                teacher = self._teacher_outputs(mixed, mask, None, None, None, None)
            output, unmade = self._run(self.student, self._student_recorder, features, self._accepted[0](mixed))
        student = BatchOutputs(logits_of(output, mask) if unmade is None else unmade, features)
        rows = self._rows(student.logits, mask, None, None)
        if mixup.is_consistent:
            alone = Features()
            with torch.no_grad():  # to its end: a sharded student gathers each layer anew only after a whole pass
                self._run(self.student, self._student_recorder, alone, self._accepted[0](inputs))
            value = consistency(self.objective, features, alone, share, attention_mask_of(inputs))
        student = student if rows is None else student.at(rows)
        return self.objective(student, teacher, None, mask, consistency=value)

    @torch.no_grad()
    def teacher_outputs(
        self,
        labels: Tensor | None = None,
        rows: Tensor | None = None,
        teacher_features: Mapping[str, Any] | None = None,
        teacher_inputs: Mapping[str, Mapping[str, Tensor]] | None = None,
        **inputs: Any,
    ) -> BatchOutputs:
        """Return what the teachers give for a batch, as training sees it."""
        labels, inputs = split_labels(labels, inputs)
        mask = attention_mask_of(inputs)
        outputs = self._teacher_outputs(inputs, mask, labels, rows, teacher_features, teacher_inputs)
        unmade = outputs.logits
        return outputs._replace(logits=unmade.logits()) if isinstance(unmade, VocabularyLogits) else outputs

    def _evaluate(self, labels: Tensor | None, inputs: Mapping[str, Any]) -> ModelOutput:
        accepted = self._accepted[0](inputs)
        if pooling_of(self.student) is not None:
            vectors = self.student(**accepted).logits
            return ModelOutput(loss=vectors.new_full((), torch.nan), logits=vectors)  # no label is compared with them
        if self._takes_labels:
            output = self.student(**accepted, labels=labels)
        else:
            output = self.student(**accepted)
        return output if isinstance(output, ModelOutput) else plain_output(output, labels)

    def _teacher_outputs(
        self,
        inputs: Mapping[str, Any],
        mask: Tensor | None,
        labels: Tensor | None,
        rows: Tensor | None,
        teacher_features: Mapping[str, Any] | None,
        teacher_inputs: Mapping[str, Mapping[str, Tensor]] | None,
    ) -> BatchOutputs:
        """Return the outputs of the default teacher, or of all that some term learns from."""
        if not self.objective.needs_teacher:
            return BatchOutputs(None, Features())
        several = len(self.columns) > 1
        stored = teacher_features
        if stored is not None and not several:
            stored = {DEFAULT_TEACHER: stored}
        outputs = {}
        for name, columns in self.columns.items():
            if several and not self.objective.needs(name):
                continue
            read, its_mask, its_rows = inputs, mask, rows
            if teacher_inputs is not None and name in teacher_inputs:
                read = inputs_of_teacher(teacher_inputs[name])
                its_mask, its_rows = attention_mask_of(read), teacher_inputs[name].get(ROWS)
            elif not self.same_ids and name in self.teachers and stored is None:
                check_same_ids(self.student, self.teachers[name], name)
            if stored is None:
                output = self._ask(name, read, its_mask)
            else:
                output = restore(stored[name], columns, self._decoders[0].get(name))
            chosen = self._rows(output.logits, its_mask, labels, its_rows)
            outputs[name] = output if chosen is None else output.at(chosen)
            if name in self.permuted:
                features = features_of_other_texts(outputs[name].features, _ones_if_none(its_mask, read))
                outputs[name] = outputs[name]._replace(features=features)
        return merge_teachers(outputs) if several else outputs[DEFAULT_TEACHER]

    def _ask(self, name: str, inputs: Mapping[str, Any], mask: Tensor | None) -> BatchOutputs:
        recorder, model = self._teacher_recorders[name], self.teachers[name]
        accepted = self._accepted[1][name](inputs)
        if not self.objective.needs_logits_of(name):
            return BatchOutputs(None, recorder.run(**accepted))
        features = Features()
        output, unmade = self._run(model, recorder, features, accepted)
        if unmade is not None:
            return BatchOutputs(unmade, features)
        logits = logits_of(output, mask)
        return BatchOutputs(None if logits is None else reordered(logits, self.columns[name]), features)

    def _rows(self, logits: Any, mask: Tensor | None, labels: Tensor | None, rows: Tensor | None) -> Tensor | None:
        """Return which tokens' logits are compared, boolean (B, L); None where logits are of texts."""
        return token_rows(logits, mask, labels, getattr(self, "config", None)) if rows is None else rows


def _check_apart(student: nn.Module, teachers: Mapping[str, nn.Module | None]) -> None:
    """Raise ConfigError for a parameter that student and teacher share: who freezes one would freeze both."""
    trained = {id(parameter): name for name, parameter in student.named_parameters()}
    for teacher in teachers.values():
        shared = [] if teacher is None else [trained[id(x)] for x in teacher.parameters() if id(x) in trained]
        if shared:
            raise ConfigError(
                f"student and teacher share the parameter {shared[0]}", hint="give the student a copy: copy.deepcopy"
            )


def _frozen(teacher: Model) -> Model:
    return teacher.eval().requires_grad_(False)


def _accepting(model: nn.Module) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """Return what leaves out inputs that a model's forward does not take: student and teacher may differ there."""
    parameters = inspect.signature(model.forward).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict
    return lambda inputs: {name: value for name, value in inputs.items() if name in parameters}


def _ones_if_none(mask: Tensor | None, inputs: Mapping[str, Any]) -> Tensor:
    return torch.ones_like(inputs["input_ids"]) if mask is None else mask
