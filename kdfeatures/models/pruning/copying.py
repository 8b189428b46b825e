"""Weights of a teacher copied into a student of its family: whole layers, and the head."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from kdfeatures.capture.families import encoder_of, family_of
from kdfeatures.errors import ConfigError
from kdfeatures.models.heads import output_layer, select_outputs


def copy_layers(
    student: PreTrainedModel, teacher: PreTrainedModel, layers: Sequence[int], teacher_columns: Sequence[int] | None
) -> None:
    """Copy, in place, these teacher layers, from 1, and all that is in no layer: embeddings, norms, head.

    teacher_columns: the teacher's outputs in the student's label order; None keeps theirs.
    """
    student_layers, teacher_layers = encoder_of(student).layers, encoder_of(teacher).layers
    for layer, source in zip(student_layers, layers, strict=True):
        layer.load_state_dict(teacher_layers[source - 1].state_dict())
    inside = {id(parameter) for layer in teacher_layers for parameter in layer.parameters()}
    by_depth = family_of(teacher.config).by_depth
    other_weights = {
        name: value
        for name, value in teacher.state_dict(keep_vars=True).items()
        if id(value) not in inside and not any(part in name.split(".") for part in by_depth)
    }
    student.load_state_dict(other_weights, strict=False)
    if teacher_columns is not None:
        select_outputs(student, teacher_columns, len(teacher_columns))


def copy_head(student: PreTrainedModel, teacher: PreTrainedModel | None, teacher_columns: Sequence[int] | None) -> None:
    """Give the student the teacher's head, in place, and freeze it: all that reads the last hidden state.

    That is what lies outside the base model, and the base model's pooler. Raises ConfigError for a teacher that is no
    model, and for heads of other parts or sizes.
    """
    if teacher is None:
        raise _refused("copies the teacher's head, but teacher.outputs is no model", "leave it out")
    own, its = _head(student), _head(teacher)
    if own.keys() != its.keys():
        differing = sorted(own.keys() ^ its.keys())
        raise _refused(
            f"copies the teacher's head, but the student's has other parts ({', '.join(differing[:3])})",
            "choose a student of the teacher's family",
        )
    rows: dict[int, Sequence[int]] = {}
    if teacher_columns is not None:
        outputs = output_layer(teacher, teacher.config.num_labels or 0)
        rows = {id(parameter): teacher_columns for parameter in outputs.parameters()}
    for name, parameter in own.items():
        given = its[name].detach()
        given = given[list(rows[id(its[name])])] if id(its[name]) in rows else given
        if parameter.shape != given.shape:
            raise _refused(
                f"copies the teacher's head, but its {name} is {tuple(given.shape)} and the student's "
                f"{tuple(parameter.shape)}",
                "choose a student of the teacher's width",
            )
        parameter.data.copy_(given)
        parameter.requires_grad_(False)


def _head(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return what a model computes its outputs with, by name below the model: outside the base model, or its pooler."""
    base = {id(parameter): name for name, parameter in model.base_model.named_parameters()}
    return {
        name.removeprefix(f"{model.base_model_prefix}."): parameter
        for name, parameter in model.named_parameters()
        if id(parameter) not in base or base[id(parameter)].startswith("pooler.")
    }


def _refused(problem: str, hint: str) -> ConfigError:
    return ConfigError(problem, argument="freeze_head", value=True, hint=hint, section="student")
