"""Make the student: from teacher layers, from the teacher's embeddings made narrower, random, or from a folder."""

from __future__ import annotations

import math

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from kdfeatures.capture.families import encoder_of, family_of
from kdfeatures.config.schema import StudentConfig
from kdfeatures.errors import UserError, nearest
from kdfeatures.mapping.rules import uniform
from kdfeatures.models.load import label_settings, load_for_task
from kdfeatures.models.pca_init import narrow_embeddings
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

INITS = ("teacher", "pca", "random")


def build_student(
    config: StudentConfig, teacher: PreTrainedModel, teacher_columns: list[int] | None, task: Task
) -> PreTrainedModel:
    """Return the student described by `config`, with the task's labels. Random weights follow torch's global seed.

    teacher_columns: the teacher's outputs in the task's label order, or None; a copied head is put into that order.
    """
    if config.path is not None:
        for name in ("layers", "layers_from", "hidden_size", "heads", "intermediate_size"):
            value = getattr(config, name)
            if value is not None:
                raise UserError(
                    f"student.path={config.path} has its own layers and sizes, so student.{name}={value} has no "
                    f"effect; set student.{name}=null, or leave out the path."
                )
        return load_for_task(config.path, "student.path", task)
    student = task_type(task).auto.from_config(planned_config(config, teacher.config, task))
    if config.init == "teacher":
        _copy_layers(config, student, teacher, teacher_columns)
    elif config.init == "pca":
        narrow_embeddings(student, teacher)
    return student


def copied_layers(config: StudentConfig, student_layers: int, teacher_layers: int) -> list[int]:
    """The teacher layers (from 1) that a student with init=teacher starts from."""
    if config.layers_from is None:
        return [pair.teacher for pair in uniform(student_layers, teacher_layers, embeddings=False)]
    if len(config.layers_from) != student_layers:
        raise UserError(
            f"student.layers_from={list(config.layers_from)} names {len(config.layers_from)} teacher layers, but the "
            f"student has {student_layers} layers; name one for each."
        )
    for n in config.layers_from:
        if not 1 <= n <= teacher_layers:
            raise UserError(
                f"student.layers_from={list(config.layers_from)} names layer {n}, but the teacher has layers 1 to "
                f"{teacher_layers}."
            )
    return list(config.layers_from)


def planned_config(config: StudentConfig, teacher: PreTrainedConfig, task: Task) -> PreTrainedConfig:
    """Return the config of a student that is cut from a teacher; raises UserError for options that do not fit."""
    if config.init not in INITS:
        raise UserError(
            f"student.init={config.init} is unknown{nearest(config.init, INITS)}; choose from {', '.join(INITS)}."
        )
    if not family_of(teacher).resizable:
        raise UserError(
            f"kdfeatures cannot derive a student from the config of a '{teacher.model_type}' teacher; make the student "
            "yourself, or take one of another family, and give student.path=FOLDER."
        )
    made = type(teacher).from_dict(teacher.to_dict() | label_settings(task))
    if not 0 < config.layer_share <= 1:
        raise UserError(f"student.layer_share={config.layer_share} must be above 0 and at most 1.")
    share = math.ceil(config.layer_share * teacher.num_hidden_layers)
    usual_depth = len(config.layers_from) if config.layers_from else share
    made.num_hidden_layers = _positive(config.layers, "layers", usual_depth)
    made.hidden_size = _positive(config.hidden_size, "hidden_size", teacher.hidden_size)
    made.num_attention_heads = _positive(config.heads, "heads", teacher.num_attention_heads)
    if made.hidden_size % made.num_attention_heads:
        raise UserError(
            f"student.hidden_size={made.hidden_size} is not a multiple of student.heads={made.num_attention_heads}; "
            "choose student.heads so that it divides the width."
        )
    name = family_of(teacher).intermediate_size
    same_width = made.hidden_size == teacher.hidden_size
    usual = getattr(teacher, name) if same_width else 4 * made.hidden_size
    setattr(made, name, _positive(config.intermediate_size, "intermediate_size", usual))
    if config.init == "teacher":
        _check_copy(config, made, teacher)
    elif config.layers_from is not None:
        raise UserError(
            f"student.layers_from={list(config.layers_from)} names layers to copy, but student.init={config.init} "
            "copies none; leave out one of them."
        )
    if config.init == "pca" and made.hidden_size >= teacher.hidden_size:
        raise UserError(
            f"student.init=pca makes embeddings narrower, but student.hidden_size={made.hidden_size} is not below the "
            f"teacher's {teacher.hidden_size}; choose a smaller one, or student.init=teacher."
        )
    return made


def _check_copy(config: StudentConfig, made: PreTrainedConfig, teacher: PreTrainedConfig) -> None:
    name = family_of(teacher).intermediate_size
    for option, own, theirs in (
        ("hidden_size", made.hidden_size, teacher.hidden_size),
        ("heads", made.num_attention_heads, teacher.num_attention_heads),
        ("intermediate_size", getattr(made, name), getattr(teacher, name)),
    ):
        if own != theirs:
            raise UserError(
                f"student.init=teacher copies whole layers, but student.{option}={own} and the teacher has {theirs}; "
                "use student.init=random, or pca for a narrower one."
            )
    copied_layers(config, made.num_hidden_layers, teacher.num_hidden_layers)


def _positive(value: int | None, name: str, otherwise: int) -> int:
    if value is not None and value < 1:
        raise UserError(f"student.{name}={value} must be at least 1.")
    return otherwise if value is None else value


def _copy_layers(
    config: StudentConfig, student: PreTrainedModel, teacher: PreTrainedModel, teacher_columns: list[int] | None
) -> None:
    mine, theirs = encoder_of(student).layers, encoder_of(teacher).layers
    for layer, source in zip(mine, copied_layers(config, len(mine), len(theirs)), strict=True):
        layer.load_state_dict(theirs[source - 1].state_dict())
    inside = {id(parameter) for layer in theirs for parameter in layer.parameters()}
    rest = {key: value for key, value in teacher.state_dict(keep_vars=True).items() if id(value) not in inside}
    student.load_state_dict(rest, strict=False)
    if teacher_columns is not None:
        _reorder_outputs(student, teacher_columns)


@torch.no_grad()
def _reorder_outputs(model: PreTrainedModel, columns: list[int]) -> None:
    encoder = {id(module) for module in model.base_model.modules()}
    outputs = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and id(module) not in encoder and module.out_features == len(columns)
    ][-1]
    outputs.weight.copy_(outputs.weight[columns].clone())
    outputs.bias.copy_(outputs.bias[columns].clone())
