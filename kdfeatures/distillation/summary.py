"""What an objective does, term by term, as data: results.json keeps it, and kdfeatures.runs.loss_tables prints it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedConfig

from kdfeatures.alignment.per_teacher import projections_for
from kdfeatures.capture.families import family_of
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.mixup.settings import Mixup
from kdfeatures.distillation.schedules import Schedule
from kdfeatures.distillation.term import ON_HIDDEN, BoundTerm, loss_name
from kdfeatures.losses.embedding import EmbeddingLoss
from kdfeatures.mapping.pairs import DEFAULT_TEACHER

UNSAID = "it does not say"  # of a loss that is not the package's own


def describe_objective(
    objective: BoundObjective,
    student: PreTrainedConfig,
    teacher: PreTrainedConfig | None,
    classes: int | str,
    *,
    others: Mapping[str, PreTrainedConfig] | None = None,
    rows: str = "B",
    labels: str | None = None,
) -> dict[str, Any]:
    """Return what the objective does with models of these configs; classes: C of all outputs,
    or a letter for it.
    rows: what a row of them is of, in a word: B texts, or tokens. labels: their shape, where it is not that.

    teacher: None for stored outputs, as it is in what is returned. others: further teachers by name.

    {student, teacher: {layers, hidden_size, heads}, others: {name: the same and its share of the averaged
    distribution}, terms, mixup, projections, first_batch: None}
    terms: {name: {loss, settings, of, layers, compared, map, student, teacher, weight, share, over_pairs, reduces,
        counts, temperature}}, of: the teacher whose layers are compared; layers: mapped pairs, empty for outputs, of a
        map that moves its candidates, of which `compared` are those of the first step; map: such a map in words, None
        for a fixed one; student, teacher: the shapes compared, in the letters of kdfeatures.features; weight: a number,
        or a schedule in words; share: of the balance, None without one; temperature: None for a loss that has none.
    mixup: {alpha, consistency: a number, or a schedule in words}, None where texts are read one by one.
    projections: {kind, learned: {name: parameters}, frozen: {name: numbers}}
    first_batch: as `first_batch` returns it, once there was one.
    """
    terms, teachers = {}, {DEFAULT_TEACHER: teacher, **(others or {})}
    for name, term in objective.terms.items():
        projections = projections_for(objective.projections, term.teacher)
        of_student, of_teacher = _shapes(term, projections, student, teachers[term.teacher], (rows, classes, labels))
        terms[name] = {
            "loss": loss_name(term.loss),
            "settings": _settings(term),
            **describe_layers(term),
            "student": of_student,
            "teacher": of_teacher,
            "weight": str(term.weight) if isinstance(term.weight, Schedule) else term.weight,
            "share": None if objective.balance is None else objective.balance.share(name),
            "over_pairs": term.pair_reduction if term.pairs else None,
            "reduces": getattr(term.loss, "reduction", UNSAID),
            "counts": getattr(term.loss, "positions", UNSAID),
            "temperature": _temperature(term),
        }
    return {
        "student": _size(student),
        "teacher": None if teacher is None else _size(teacher),
        "others": {
            name: _size(config) | {"share": objective.shares.get(name, 0.0)} for name, config in (others or {}).items()
        },
        "terms": terms,
        "mixup": None if objective.mixup is None else _mixup(objective.mixup),
        "projections": _projections(objective),
        "first_batch": None,
    }


def describe_layers(term: BoundTerm) -> dict[str, Any]:
    """Return the part of a term's description that says which layers it compares: of, layers, compared and map."""
    return {
        "of": term.teacher,
        "layers": [list(pair) for pair in term.pairs],
        "compared": [list(pair) for pair in term.active_pairs],
        "map": None if term.map is None else f"{term.map.rule}, {term.map.summary}",
    }


def first_batch(
    objective: BoundObjective, rows: Sequence[Sequence[float]], *, step: int, shape: Sequence[int]
) -> dict[str, Any]:
    """Return {step, texts, tokens, terms, total} of what measure_terms found, and a last row for the weighted sum.

    terms: {name: {value, weight, gradient, projections}}, the value unweighted, the norms of the gradient on student
    and projections those of weight * value. total: the same of the sum, without a weight. Of several processes, values
    and norms are means of those of each one's own batch; texts and tokens are of this one's.
    """
    terms = {}
    for (name, weight), (value, student, projections) in zip(objective.weights.items(), rows[:-1], strict=True):
        terms[name] = {
            "value": value,
            "weight": weight,
            "gradient": weight * student,
            "projections": weight * projections,
        }
    total = dict(zip(("value", "gradient", "projections"), rows[-1], strict=True))
    return {"step": step, "texts": shape[0], "tokens": shape[1], "terms": terms, "total": total}


def _size(config: PreTrainedConfig) -> dict[str, int]:
    return {
        "layers": config.num_hidden_layers,
        "hidden_size": config.hidden_size,
        "heads": config.num_attention_heads,
    }


def _settings(term: BoundTerm) -> dict[str, Any]:
    """Return the loss's own arguments, as far as it keeps them under their names, and what brings heads together.

    The temperature is told apart.
    """
    names = [name for name in inspect.signature(type(term.loss)).parameters if name != "temperature"]
    arguments = {name: getattr(term.loss, name) for name in names if hasattr(term.loss, name)}
    return arguments if term.heads is None else arguments | {"heads": term.heads.rule}


def _temperature(term: BoundTerm) -> str | None:
    temperature = getattr(term.loss, "temperature", None)
    if temperature is None:
        return None
    value = f"{temperature:g}" if term.temperature is None else str(term.temperature)
    factor = getattr(term.loss, "temperature_factor", UNSAID)
    return f"T = {value}, factor {factor}"


def _shapes(
    term: BoundTerm,
    projections: nn.Module,
    student: PreTrainedConfig,
    teacher: PreTrainedConfig | None,
    outputs: tuple[str, int | str, str | None],
) -> tuple[str, str]:
    inputs = term.loss.inputs
    if inputs == "attention":
        assert teacher is not None  # stored outputs have no layers
        if term.heads is None:
            of_student, of_teacher = (family_of(config).heads(config) for config in (student, teacher))
        else:
            of_student, of_teacher = term.heads.compared_heads
        operands = " ".join(name[0] for name in term.loss.operands)
        student_heads, teacher_heads = (term.loss.compared_heads(n) for n in (of_student, of_teacher))
        return f"{operands} (B, {student_heads}, L, L)", f"{operands} (B, {teacher_heads}, L, L)"
    if inputs in ON_HIDDEN:
        assert teacher is not None
        widths = student.hidden_size, teacher.hidden_size
        # all pairs have these widths
        after = _projected(projections, term, widths) if term.loss.needs_projection else widths
        student_shape, teacher_shape = (
            f"(B, L, {width})" if to == width else f"(B, L, {width}) -> (B, L, {to})"
            for width, to in zip(widths, after, strict=True)
        )
        return student_shape, teacher_shape
    if isinstance(term.loss, EmbeddingLoss):
        assert teacher is not None
        own, its = f"({outputs[0]}, {student.hidden_size})", f"({outputs[0]}, {teacher.hidden_size})"
        return own if term.projection is None else f"{own} -> {its}", its
    rows, classes, shape = outputs
    logits, labels = f"({rows}, {classes})", f"labels {shape or f'({rows})'}"
    return logits, {"labels": labels, "logits": logits}.get(inputs, f"{logits}, {labels}")


def _mixup(mixup: Mixup) -> dict[str, Any]:
    weight = mixup.consistency
    return {"alpha": mixup.alpha, "consistency": str(weight) if isinstance(weight, Schedule) else weight}


@torch.no_grad()
def _projected(projections: nn.Module, term: BoundTerm, widths: Sequence[int]) -> Sequence[int]:
    states: list[Tensor] = [torch.zeros(1, 1, width) for width in widths]
    return [x.shape[-1] for x in projections(term.pairs[0], *states)]


def _projections(objective: BoundObjective) -> dict[str, Any]:
    learned: dict[str, int] = {}
    projections, of_vectors = objective.projections, objective.vector_maps
    for name, parameter in (*projections.named_parameters(), *of_vectors.named_parameters()):
        owner = name.rpartition(".")[0] or name
        learned[owner] = learned.get(owner, 0) + parameter.numel()
    frozen = {name: buffer.numel() for name, buffer in projections.named_buffers()}
    return {"kind": type(projections).__name__, "learned": learned, "frozen": frozen}
