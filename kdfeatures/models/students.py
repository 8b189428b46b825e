"""Make the student: from teacher layers, from the teacher's embeddings made narrower, random, or from a folder."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from kdfeatures.capture.families import encoder_of, family_of
from kdfeatures.errors import ConfigError, nearest
from kdfeatures.mapping.rules import uniform
from kdfeatures.models.batches import Batch
from kdfeatures.models.heads import select_outputs
from kdfeatures.models.load import label_settings, load_for_task
from kdfeatures.models.pca_init import narrow_embeddings
from kdfeatures.models.pruning import PRUNABLE, prune_into
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

INITS = ("teacher", "pruned", "pca", "random")


@dataclass(frozen=True)
class StudentSpec:
    """The student to make: a pretrained one at `path`, or one cut from the teacher.

    Args:
        path: folder or Hub id; the sizes are then its own.
        init: "teacher" copies teacher layers, embeddings and head; "pruned" keeps, at any smaller sizes, the teacher's
            most important heads, neurons and directions (kdfeatures.models.pruning); "pca" starts a narrower one from
            the teacher's embeddings along their leading principal directions; "random" draws all weights.
        layers: None is as many as `layers_from`, or `layer_share` of the teacher's, rounded up.
        layers_from: the teacher layers to copy, from 1; None spreads them evenly.
        hidden_size, heads, intermediate_size: None takes the teacher's (for another width 4 hidden_size).
        seed: of random weights; None is the run's.
        init_examples: how many training examples init="pruned" measures importance on.
    """

    path: str | None = None
    init: str = "teacher"
    layers: int | None = None
    layer_share: float = 0.5
    layers_from: list[int] | None = None
    hidden_size: int | None = None
    heads: int | None = None
    intermediate_size: int | None = None
    seed: int | None = None
    init_examples: int = 512


def build_student(
    spec: StudentSpec, teacher: PreTrainedModel | None, teacher_columns: list[int] | None, task: Task
) -> PreTrainedModel:
    """Return the student described by `spec`, with the task's labels. Random weights follow torch's global seed.

    teacher: None, as stored outputs are, only for a student with a path. teacher_columns: the teacher's outputs in the
    task's label order, or None; a copied head is put into that order. With init="pruned" the weights are random until
    `prune_student` has seen texts.
    """
    if spec.path is not None:
        for name in ("layers", "layers_from", "hidden_size", "heads", "intermediate_size"):
            value = getattr(spec, name)
            if value is not None:
                raise ConfigError(
                    f"the student at {spec.path} has its own layers and sizes, so {name}={value} has no effect",
                    hint=f"leave out {name} or the path",
                    key="student.path_sizes",
                    path=spec.path,
                    name=name,
                    size=value,
                )
        return load_for_task(spec.path, "student.path", task)
    assert teacher is not None
    student = task_type(task).auto.from_config(planned_config(spec, teacher.config, task))
    if spec.init == "teacher":
        _copy_layers(spec, student, teacher, teacher_columns)
    elif spec.init == "pca":
        narrow_embeddings(student, teacher)
    return student


def prune_student(
    spec: StudentSpec,
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    teacher_columns: list[int] | None,
    batches: Iterable[Batch],
) -> None:
    """Give a student of init="pruned", in place, what it keeps of the teacher, measured on batches of model inputs."""
    layers = copied_layers(spec, student.config.num_hidden_layers, teacher.config.num_hidden_layers)
    prune_into(student, teacher, batches, layers)
    if teacher_columns is not None:
        select_outputs(student, teacher_columns, len(teacher_columns))


def copied_layers(spec: StudentSpec, student_layers: int, teacher_layers: int) -> list[int]:
    """The teacher layers (from 1) that a student with init=teacher or pruned starts from."""
    if spec.layers_from is None:
        return [pair.teacher for pair in uniform(student_layers, teacher_layers, embeddings=False)]
    if len(spec.layers_from) != student_layers:
        raise ConfigError(
            f"names {len(spec.layers_from)} teacher layers, but the student has {student_layers} layers",
            argument="layers_from",
            value=list(spec.layers_from),
            hint="name one for each",
            section="student",
        )
    for n in spec.layers_from:
        if not 1 <= n <= teacher_layers:
            raise ConfigError(
                f"names layer {n}, but the teacher has layers 1 to {teacher_layers}",
                argument="layers_from",
                value=list(spec.layers_from),
                section="student",
            )
    return list(spec.layers_from)


def planned_config(spec: StudentSpec, teacher: PreTrainedConfig, task: Task) -> PreTrainedConfig:
    """Return the config of a student that is cut from a teacher; raises ConfigError for sizes that do not fit."""
    if spec.init not in INITS:
        raise ConfigError(
            f"is unknown{nearest(spec.init, INITS)}",
            argument="init",
            value=spec.init,
            hint=f"choose from {', '.join(INITS)}",
            section="student",
        )
    if not family_of(teacher).resizable:
        raise ConfigError(
            f"kdfeatures cannot derive a student from the config of a '{teacher.model_type}' teacher",
            hint="make the student yourself, or take one of another family, and give its path",
            key="student.family",
            model_type=teacher.model_type,
        )
    config = type(teacher).from_dict(teacher.to_dict() | label_settings(task))
    config.dtype = torch.float32  # whatever the teacher runs in
    if not 0 < spec.layer_share <= 1:
        raise ConfigError(
            "must be above 0 and at most 1", argument="layer_share", value=spec.layer_share, section="student"
        )
    share = math.ceil(spec.layer_share * teacher.num_hidden_layers)
    usual_depth = len(spec.layers_from) if spec.layers_from else share
    config.num_hidden_layers = _positive(spec.layers, "layers", usual_depth)
    config.hidden_size = _positive(spec.hidden_size, "hidden_size", teacher.hidden_size)
    config.num_attention_heads = _positive(spec.heads, "heads", teacher.num_attention_heads)
    if config.hidden_size % config.num_attention_heads:
        raise ConfigError(
            f"hidden_size={config.hidden_size} is not a multiple of heads={config.num_attention_heads}",
            hint="choose heads so that it divides the width",
            key="student.heads",
            hidden_size=config.hidden_size,
            heads=config.num_attention_heads,
        )
    name = family_of(teacher).intermediate_size
    same_width = config.hidden_size == teacher.hidden_size
    usual = getattr(teacher, name) if same_width else 4 * config.hidden_size
    setattr(config, name, _positive(spec.intermediate_size, "intermediate_size", usual))
    if spec.init == "teacher":
        _check_copy(spec, config, teacher)
    elif spec.init == "pruned":
        _check_pruning(spec, config, teacher)
    elif spec.layers_from is not None:
        raise ConfigError(
            f"layers_from={list(spec.layers_from)} names layers to copy, but init={spec.init} copies none",
            hint="leave out one of them",
            key="student.copies_none",
            layers_from=list(spec.layers_from),
            init=spec.init,
        )
    if spec.init == "pca" and config.hidden_size >= teacher.hidden_size:
        raise ConfigError(
            f"init=pca makes embeddings narrower, but hidden_size={config.hidden_size} is not below the teacher's "
            f"{teacher.hidden_size}",
            hint="choose a smaller one, or init=teacher",
            key="student.pca",
            hidden_size=config.hidden_size,
            teacher_size=teacher.hidden_size,
        )
    return config


def _check_pruning(spec: StudentSpec, config: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    if teacher.model_type not in PRUNABLE:
        raise ConfigError(
            f"init=pruned cuts {', '.join(PRUNABLE)}, but the teacher is a '{teacher.model_type}'",
            hint="use init=teacher, pca or random",
            key="student.prunable",
            model_type=teacher.model_type,
            prunable=", ".join(PRUNABLE),
        )
    if config.hidden_size > teacher.hidden_size:
        raise ConfigError(
            f"init=pruned keeps directions of the teacher's {teacher.hidden_size}, so hidden_size={config.hidden_size} "
            "is too many",
            hint="choose at most as many, or init=random",
            key="student.pruned_width",
            hidden_size=config.hidden_size,
            teacher_size=teacher.hidden_size,
        )
    if spec.init_examples < 4:
        raise ConfigError("must be at least 4", argument="init_examples", value=spec.init_examples, section="student")
    copied_layers(spec, config.num_hidden_layers, teacher.num_hidden_layers)


def _check_copy(spec: StudentSpec, config: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    name = family_of(teacher).intermediate_size
    for size, student_size, teacher_size in (
        ("hidden_size", config.hidden_size, teacher.hidden_size),
        ("heads", config.num_attention_heads, teacher.num_attention_heads),
        ("intermediate_size", getattr(config, name), getattr(teacher, name)),
    ):
        if student_size != teacher_size:
            raise ConfigError(
                f"init=teacher copies whole layers, but {size}={student_size} and the teacher has {teacher_size}",
                hint="use init=pruned for smaller sizes, or random",
                key="student.copy_sizes",
                size=size,
                student_size=student_size,
                teacher_size=teacher_size,
            )
    copied_layers(spec, config.num_hidden_layers, teacher.num_hidden_layers)


def _positive(value: int | None, name: str, otherwise: int) -> int:
    if value is not None and value < 1:
        raise ConfigError("must be at least 1", argument=name, value=value, section="student")
    return otherwise if value is None else value


def _copy_layers(
    spec: StudentSpec, student: PreTrainedModel, teacher: PreTrainedModel, teacher_columns: list[int] | None
) -> None:
    student_layers, teacher_layers = encoder_of(student).layers, encoder_of(teacher).layers
    for layer, source in zip(
        student_layers, copied_layers(spec, len(student_layers), len(teacher_layers)), strict=True
    ):
        layer.load_state_dict(teacher_layers[source - 1].state_dict())
    inside = {id(parameter) for layer in teacher_layers for parameter in layer.parameters()}
    other_weights = {key: value for key, value in teacher.state_dict(keep_vars=True).items() if id(value) not in inside}
    student.load_state_dict(other_weights, strict=False)
    if teacher_columns is not None:
        select_outputs(student, teacher_columns, len(teacher_columns))
