"""Load a teacher, and refuse one that has nothing to teach."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.embeddings.folder import read_pooling
from kdfeatures.embeddings.pooling import give_vectors
from kdfeatures.errors import ConfigError, UserError, nearest
from kdfeatures.hub.models import check_revision, with_revision
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.models.load import load_trained
from kdfeatures.models.tokenizers import load_tokenizer
from kdfeatures.ranges import NotNegative
from kdfeatures.runtime import quantized
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

logger = logging.getLogger(__name__)

PROBE = "It's 3.5% Naïve — kdfeatures, isn't it?"  # what tokenizers of one vocabulary may split differently
PRECISIONS = ("float32", "bfloat16", "float16", quantized.DTYPE)


@dataclass(frozen=True)
class TeacherSettings:
    """The main teacher of a run.

    Args:
        path: folder or Hub id; None trains one (generated tasks only).
        outputs: file or folder of its answers instead of a model (kdfeatures.data.predictions_file), found by
            `id_column` of the data.
        revision: branch, tag or commit of a model on the Hub; None takes the cache's, see kdfeatures.hub.models.
        weight: its share in the averaged distribution of several teachers.
        force: distil a teacher whose label names or quality would be refused.
        dtype, compile: how it runs when it teaches.
        fsdp: its layers are shared out among the processes (kdfeatures.training.fsdp.shard_teacher).
    """

    path: str | None = None
    revision: str | None = None
    outputs: str | None = None
    id_column: str | None = None
    weight: Annotated[float, NotNegative] = 1.0
    force: bool = False
    dtype: str = "float32"
    compile: bool = False
    fsdp: bool = False

    def __post_init__(self) -> None:
        check_dtype(self.dtype)
        check_revision(self.path, self.revision, "teacher")

    def source(self, option: str = "teacher.path") -> str:
        """Return the path with its revision; there must be one. option: how errors name it."""
        assert self.path is not None  # what has stored outputs or is trained first, is not loaded
        return with_revision(self.path, self.revision, option)


@dataclass(frozen=True)
class OtherTeacherSettings:
    """A further teacher: path, revision and weight as those of TeacherSettings; else it is treated like the main one.

    shuffled: its weights in random order, a control: what is matched then means nothing. permuted: it reads other texts
    of the batch than the student, another control.
    """

    path: str
    weight: Annotated[float, NotNegative] = 1.0
    shuffled: bool = False
    permuted: bool = False
    revision: str | None = None

    def source(self, option: str) -> str:
        """Return the path with its revision."""
        return with_revision(self.path, self.revision, option)


@dataclass(frozen=True)
class Teacher:
    """A teacher of a run: where it is from, the model, and the columns that put its logits into the task's label order.

    model: None for stored outputs. columns: None for a task without labels. tokenizer: its own; None where the
    student's gives the same tokens. shuffled: see shuffle_weights. permuted: see kdfeatures.distillation.controls.
    """

    path: str
    model: PreTrainedModel | None
    columns: list[int] | None
    shuffled: bool = False
    permuted: bool = False
    tokenizer: PreTrainedTokenizerBase | None = None

    @property
    def loaded(self) -> PreTrainedModel:
        """The model of a teacher that is not stored outputs."""
        assert self.model is not None
        return self.model


def load_teacher(
    path: str, task: Task, *, force: bool, option: str = "teacher.path"
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, list[int] | None]:
    """Return teacher, tokenizer and the columns that put its logits into the task's label order; None without labels.

    Raises UserError when the checkpoint has no trained head, or its label names do not tell their order; `force`
    takes it as it is.
    """
    model, kind = load_trained(path, option, task_type(task), force=force), task_type(task)
    columns = kind.columns(model.config, task, whose=f"the teacher {path}", force=force, option="teacher.force")
    if task.outputs == "vector":
        give_vectors(model, read_pooling(path, option))
    return model, load_tokenizer(path, option), columns


def make_ready(teacher: PreTrainedModel, *, dtype: str, compiled: bool) -> PreTrainedModel:
    """Put a loaded teacher, in place, into the precision and form in which it shall run.

    After the student is built: layers copied from it shall not be rounded. Raises UserError for an unknown dtype.
    """
    check_dtype(dtype)
    if dtype == quantized.DTYPE:
        quantized.quantize(teacher)
    else:
        teacher.to(getattr(torch, dtype))
    if compiled:
        teacher.compile(dynamic=True)  # batches differ in length
    return teacher


@torch.no_grad()
def shuffle_weights(teacher: PreTrainedModel) -> None:
    """Put the entries of every parameter into random order, in place and always the same one.

    A control: a teacher with the sizes and the scales of the real one that knows nothing. Whatever a student gains by
    matching its layers is not knowledge.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in teacher.parameters():
        order = torch.randperm(parameter.numel(), generator=generator)
        parameter.copy_(parameter.flatten()[order].view_as(parameter))


def check_dtype(dtype: str) -> None:
    """Raise ConfigError unless a teacher can run in `dtype`, here."""
    if dtype not in PRECISIONS:
        raise ConfigError(
            f"is unknown{nearest(dtype, PRECISIONS)}",
            argument="dtype",
            value=dtype,
            hint=f"choose from {', '.join(PRECISIONS)}",
            section="teacher",
        )
    if dtype == quantized.DTYPE:
        quantized.check_int8()


def check_teacher(answers: np.ndarray, dataset: Dataset, task: Task, split: str, *, whose: str = "the teacher") -> None:
    """Raise UserError when the teacher, called `whose`, answers no better than a constant would.

    answers: on an encoded split, as the task's kind has them; the kind says against which constant.
    """
    result = task_type(task).no_better(answers, dataset, task)
    if result is not None:
        raise UserError(
            f"{whose} is no better than a constant on {task.name} {split} ({result}); fine-tune it for the task, or "
            "distil it all the same with teacher.force=true."
        )


def check_tokenizers(
    teacher: PreTrainedTokenizerBase,
    other: PreTrainedTokenizerBase,
    path: str,
    *,
    option: str = "student.path",
    than: str = "the teacher",
) -> None:
    """Raise UserError unless both tokenizers give the same ids: features are compared token by token.

    path and option: where the other is from. than: what errors call the teacher.
    """
    difference = tokenizer_difference(teacher, other)
    if difference is not None:
        raise UserError(
            f"{option}={path} has another tokenizer than {than} ({difference}); models are compared token by token "
            "here, so choose one with the same tokenizer."
        )


def tokenizer_difference(one: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> str | None:
    """Return what tells two tokenizers apart, or None where they give the same ids."""
    if one.get_vocab() != other.get_vocab():
        return f"{len(other):,} against {len(one):,} entries, or other ids"
    if one(PROBE)["input_ids"] != other(PROBE)["input_ids"]:
        return "the same vocabulary, but other casing or special tokens"
    return None


def with_student_tokenizer(teachers: Mapping[str, Teacher], tokenizer: PreTrainedTokenizerBase) -> dict[str, Teacher]:
    """Return the teachers, of which those keep a tokenizer that differs from the student's, which is said."""
    known = {}
    for name, teacher in teachers.items():
        difference = None if teacher.tokenizer is None else tokenizer_difference(tokenizer, teacher.tokenizer)
        if difference is None:
            known[name] = replace(teacher, tokenizer=None)
            continue
        known[name] = teacher
        logger.info(
            f"{option_of(name)}={teacher.path} has another tokenizer than the student ({difference}): each reads the "
            "text with its own, and layers are compared by the tokens that cover the same characters."
        )
    return known


def load_teachers(
    settings: TeacherSettings, others: Mapping[str, OtherTeacherSettings], task: Task
) -> dict[str, Teacher]:
    """Return all teachers by name with their tokenizers, the main one first and in float32.

    Raises UserError as `load_teacher` does.
    """
    model, tokenizer, columns = load_teacher(settings.source(), task, force=settings.force)
    assert settings.path is not None
    loaded = {DEFAULT_TEACHER: Teacher(settings.path, model, columns, tokenizer=tokenizer)}
    for name, other in others.items():
        option = option_of(name)
        model, tokenizer, columns = load_teacher(other.source(option), task, force=settings.force, option=option)
        if other.shuffled:
            shuffle_weights(model)
        loaded[name] = Teacher(other.path, model, columns, other.shuffled, other.permuted, tokenizer)
    return loaded


def option_of(name: str) -> str:
    """Return how the user names the path of a teacher."""
    return "teacher.path" if name == DEFAULT_TEACHER else f"teachers.{name}.path"


def make_all_ready(teachers: Mapping[str, Teacher], settings: TeacherSettings) -> None:
    """Put all teachers into the precision and form in which they shall run."""
    for teacher in teachers.values():
        if teacher.model is not None:
            make_ready(teacher.model, dtype=settings.dtype, compiled=settings.compile)
