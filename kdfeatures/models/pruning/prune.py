"""Write a smaller student's weights from a teacher's: its most important parts, fitted to do without the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from kdfeatures.capture.families import encoder_of
from kdfeatures.models.batches import Batch
from kdfeatures.models.pruning.heads import kept_heads, resized, write_heads
from kdfeatures.models.pruning.importance import (
    direction_importance,
    head_importance,
    most_important,
    neuron_importance,
)
from kdfeatures.models.pruning.moments import Moments, Vectors, inputs_of
from kdfeatures.models.pruning.parts import LayerParts, layer_parts, shared_position_table
from kdfeatures.models.pruning.refit import bias_of, refitted, refitted_norm, set_part

NORM_VECTORS = 4096  # tokens that each LayerNorm is fitted on


@torch.no_grad()
def prune_into(
    student: PreTrainedModel, teacher: PreTrainedModel, batches: Iterable[Batch], layers: Sequence[int]
) -> None:
    """Set the student's weights, in place, from the teacher's; both are of one of PRUNABLE, the student no wider.

    batches: model inputs, of the texts that importance is measured on in one pass. layers: the teacher layer (from 1)
    that each student layer starts from.
    Kept are the directions of the hidden states that bring most variance to the maps that read them, the same
    everywhere, as residuals ask for; in each layer the heads and the neurons that add most variance to the hidden
    states (the same heads in all layers where these share position terms). Each kept map is then refitted by least
    squares on its kept inputs, each LayerNorm on the kept directions; what keeps all its inputs is copied, so that a
    student of the teacher's sizes equals it. Heads that become smaller keep the leading singular directions of their
    scores and of their outputs. What a student has more of (heads, neurons, a larger head) adds nothing at first.
    After weight subcloning (Samragh et al. 2023, arXiv:2312.09299), which rescales where this refits.
    """
    of_teacher = encoder_of(teacher).layers
    chosen, parts = [of_teacher[n - 1] for n in layers], [layer_parts(teacher)[n - 1] for n in layers]
    outside, student_outside = _outside(teacher), _outside(student)
    moments, norms = _records(chosen, parts, outside)
    inputs_of(teacher, batches, {**moments, **norms})

    wide, narrow = teacher.config.hidden_size, student.config.hidden_size
    readers = [(m, moments[part.query]) for part in parts for m in (part.query, part.key, part.value)]
    readers += [(part.up, moments[part.up]) for part in parts]
    readers += [(m, moments[m]) for m in outside.values() if isinstance(m, nn.Linear) and m.in_features == wide]
    importance = direction_importance((m.weight, given.covariance.diagonal()) for m, given in readers)
    directions = most_important(importance, narrow)
    heads = _kept_heads(student, teacher, parts, moments, directions)

    sizes = _head_size(student), _head_size(teacher)
    for layer, source, of_student, part, kept in zip(
        encoder_of(student).layers, chosen, layer_parts(student), parts, heads, strict=True
    ):
        _write_attention(of_student, part, kept, directions, moments, sizes)
        _write_feed_forward(of_student, part, directions, moments)
        theirs = dict(source.named_modules())
        for name, module in layer.named_modules():
            if isinstance(module, nn.LayerNorm):
                _write_norm(module, theirs[name], directions, norms)
    tables = {id(module.weight) for module in student_outside.values() if isinstance(module, nn.Embedding)}
    bias_table = shared_position_table(student)
    for name, module in student_outside.items():
        if module is not bias_table:
            _write_outside(module, outside.get(name), directions, moments, norms, tables)
    _write_position_table(student, teacher, heads)


def _head_size(model: PreTrainedModel) -> int:
    return layer_parts(model)[0].query.out_features // model.config.num_attention_heads


def _outside(model: PreTrainedModel) -> dict[str, nn.Module]:
    """Return the modules that are no part of a layer, by name."""
    inside = {id(module) for layer in encoder_of(model).layers for module in layer.modules()}
    return {name: module for name, module in model.named_modules() if id(module) not in inside}


def _records(
    layers: Sequence[nn.Module], parts: Sequence[LayerParts], outside: Mapping[str, nn.Module]
) -> tuple[dict[nn.Module, Moments], dict[nn.Module, Vectors]]:
    maps = [m for part in parts for m in (part.query, part.output, part.up, part.down)]  # k and v read what q reads
    maps += [m for m in outside.values() if isinstance(m, nn.Linear)]
    inner = [m for layer in layers for m in layer.modules()]
    norms = [m for m in (*inner, *outside.values()) if isinstance(m, nn.LayerNorm)]
    return {m: Moments(m.in_features) for m in maps}, {m: Vectors(NORM_VECTORS) for m in norms}


def _kept_heads(
    student: PreTrainedModel,
    teacher: PreTrainedModel,
    parts: Sequence[LayerParts],
    moments: Mapping[nn.Module, Moments],
    directions: Tensor,
) -> list[Tensor]:
    """Return the heads that each student layer keeps."""
    count, of_teacher = student.config.num_attention_heads, teacher.config.num_attention_heads
    importance = [
        head_importance(part.output.weight[directions], moments[part.output].covariance, of_teacher) for part in parts
    ]
    if shared_position_table(teacher) is not None:
        importance = [torch.stack([of_layer / of_layer.sum() for of_layer in importance]).sum(0)] * len(parts)
    return [most_important(of_layer, count) for of_layer in importance]


def _write_attention(
    student: LayerParts,
    teacher: LayerParts,
    heads: Tensor,
    directions: Tensor,
    moments: Mapping[nn.Module, Moments],
    sizes: tuple[int, int],
) -> None:
    """sizes: of a head, of student and teacher."""
    size, of_teacher = sizes
    given = moments[teacher.query]
    weights, bias = kept_heads(teacher, heads, of_teacher, directions, given, moments[teacher.output])
    write_heads(student, [resized(head, size, given, directions) for head in weights], bias, size)


def _write_feed_forward(
    student: LayerParts, teacher: LayerParts, directions: Tensor, moments: Mapping[nn.Module, Moments]
) -> None:
    """Neurons that the student has more of are random and read by none."""
    given = moments[teacher.down]
    importance = neuron_importance(teacher.down.weight[directions], given.covariance.diagonal())
    neurons = most_important(importance, student.up.out_features)
    weight, bias = refitted(teacher.up.weight, bias_of(teacher.up), moments[teacher.up], neurons, directions)
    set_part(student.up, weight, bias, torch.arange(len(neurons)))
    weight, bias = refitted(teacher.down.weight, bias_of(teacher.down), given, directions, neurons)
    student.down.weight.zero_()
    student.down.weight[:, : len(neurons)] = weight.to(student.down.weight.dtype)
    if student.down.bias is not None:
        student.down.bias.copy_(bias)


def _write_norm(
    student: nn.LayerNorm, teacher: nn.Module, directions: Tensor, norms: Mapping[nn.Module, Vectors]
) -> None:
    assert isinstance(teacher, nn.LayerNorm)
    if student.normalized_shape == teacher.normalized_shape:
        student.load_state_dict(teacher.state_dict())
        return
    scale, shift = refitted_norm(teacher, norms[teacher].all(), directions)
    student.weight.copy_(scale)
    student.bias.copy_(shift)


def _write_outside(
    module: nn.Module,
    teacher: nn.Module | None,
    directions: Tensor,
    moments: Mapping[nn.Module, Moments],
    norms: Mapping[nn.Module, Vectors],
    tables: set[int],
) -> None:
    """Embeddings, pooler and head; tables: ids of the embeddings, whose weights an output map may share."""
    if isinstance(module, nn.LayerNorm):
        assert teacher is not None
        _write_norm(module, teacher, directions, norms)
    elif isinstance(module, nn.Embedding):
        assert isinstance(teacher, nn.Embedding)
        columns = _kept(module.embedding_dim, teacher.embedding_dim, directions)
        module.weight.copy_(teacher.weight[:, columns])
    elif isinstance(module, nn.Linear):
        if teacher is None:  # between embeddings of the teacher's width and the student's hidden states
            module.weight.copy_(torch.eye(module.in_features)[directions])
            module.bias.zero_()
            return
        assert isinstance(teacher, nn.Linear)
        rows = _kept(module.out_features, teacher.out_features, directions)
        columns = _kept(module.in_features, teacher.in_features, directions)
        weight, bias = refitted(teacher.weight, bias_of(teacher), moments[teacher], rows, columns)
        if id(module.weight) in tables:
            weight = module.weight.double()  # shared with the embeddings, which stay those of the teacher
        set_part(module, weight, bias, torch.arange(len(rows)))


def _kept(narrow: int, wide: int, directions: Tensor) -> Tensor:
    return torch.arange(wide) if narrow == wide else directions


def _write_position_table(student: PreTrainedModel, teacher: PreTrainedModel, heads: Sequence[Tensor]) -> None:
    table, of_teacher = shared_position_table(student), shared_position_table(teacher)
    if table is not None and of_teacher is not None:
        kept = heads[0]
        table.weight[:, : len(kept)] = of_teacher.weight[:, kept]
