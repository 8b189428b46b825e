"""Fixed layer maps. A rule is one function `rule(student_layers, teacher_layers, **its own options) -> pairs`.

A map is a tuple of pairs; a layer may stand in several pairs on either side (many-to-many). To add a rule, write it
here, put it into RULES, and give it a YAML in conf/mapping/. M student layers and N teacher layers in the formulas;
layer 0 is the embeddings. Maps that change while the student trains, or are measured before, derive from
DynamicLayerMap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kdfeatures.errors import ConfigError
from kdfeatures.mapping.pairs import LayerPair

Pairs = tuple[LayerPair, ...]


def uniform(student_layers: int, teacher_layers: int, *, embeddings: bool = True) -> Pairs:
    """m -> m N / M, the map of TinyBERT (arXiv:1909.10351), rounded half up when M does not divide N.

    >>> [tuple(pair) for pair in uniform(3, 12)]
    [(0, 0), (1, 4), (2, 8), (3, 12)]
    """
    pairs = [LayerPair(m, _spread(m, student_layers, teacher_layers)) for m in _layers(student_layers)]
    return _with_embeddings(pairs, embeddings)


def last(student_layers: int, teacher_layers: int, *, embeddings: bool = True, final: bool = True) -> Pairs:
    """m -> m + N - M: the student learns from the top of the teacher.

    final: also M -> N. Without it and the embeddings it is PKD-last (arXiv:1908.09355): 6 of 12 gives 7 to 11.
    """
    _at_most(student_layers, teacher_layers, "last")
    offset = teacher_layers - student_layers
    return _with_embeddings([LayerPair(m, m + offset) for m in range(1, student_layers + final)], embeddings)


def first(student_layers: int, teacher_layers: int, *, embeddings: bool = True) -> Pairs:
    """m -> m: the student learns from the bottom of the teacher."""
    _at_most(student_layers, teacher_layers, "first")
    return _with_embeddings([LayerPair(m, m) for m in _layers(student_layers)], embeddings)


def reverse(student_layers: int, teacher_layers: int, *, embeddings: bool = True) -> Pairs:
    """m -> (M + 1 - m) N / M: `uniform` upside down, a control for whether it matters which layers are matched."""
    layers = _layers(student_layers)
    pairs = [LayerPair(m, _spread(student_layers + 1 - m, student_layers, teacher_layers)) for m in layers]
    return _with_embeddings(pairs, embeddings)


def all_to_one(
    student_layers: int, teacher_layers: int, *, teacher_layer: int | None = None, embeddings: bool = True
) -> Pairs:
    """m -> `teacher_layer` (None: N): all layers learn from one, a control as in arXiv:2502.04499."""
    target = teacher_layers if teacher_layer is None else teacher_layer
    return _with_embeddings([LayerPair(m, target) for m in _layers(student_layers)], embeddings)


def skip(student_layers: int, teacher_layers: int) -> Pairs:
    """m -> m N / M without the final layer, PKD-skip (arXiv:1908.09355): 6 of 12 gives 2, 4, 6, 8, 10.

    Unlike `uniform`, the last layer of both sides is left to the logit loss.
    """
    if student_layers < 2:
        raise ConfigError(
            f"skip leaves the final layer out, so a student with {student_layers} layer has nothing to match",
            hint="use final",
            key="map.skip",
            student_layers=student_layers,
        )
    return tuple(LayerPair(m, _spread(m, student_layers, teacher_layers)) for m in range(1, student_layers))


def final(student_layers: int, teacher_layers: int, *, teacher_layer: int | None = None) -> Pairs:
    """M -> `teacher_layer` (None: N): the one pair of MiniLM (arXiv:2002.10957).

    MiniLMv2 takes layer 21 of a 24-layer BERT and layer 19 of a 24-layer RoBERTa.
    """
    return (LayerPair(student_layers, teacher_layers if teacher_layer is None else teacher_layer),)


def middle(
    student_layers: int, teacher_layers: int, *, student_layer: int | None = None, teacher_layer: int | None = None
) -> Pairs:
    """One pair, FitNets' guided and hint layer (arXiv:1412.6550); None: the middle one, M / 2 and N / 2 rounded up."""
    guided = (student_layers + 1) // 2 if student_layer is None else student_layer
    return (LayerPair(guided, (teacher_layers + 1) // 2 if teacher_layer is None else teacher_layer),)


def explicit(student_layers: int, teacher_layers: int, *, pairs: Sequence[Sequence[int]]) -> Pairs:
    """The pairs as the user wrote them: [(student layer, teacher layer), ...].

    >>> explicit(2, 4, pairs=[(1, 2), (2, 4)])
    (LayerPair(student=1, teacher=2), LayerPair(student=2, teacher=4))
    """
    layer_pairs = []
    for pair in pairs if _is_list(pairs) else [pairs]:
        if not _is_list(pair) or len(pair) != 2 or not all(type(n) is int for n in pair):
            raise ConfigError(
                f"a layer map is a list of (student layer, teacher layer), but holds {pair!r}",
                hint="write for instance [(1, 2), (2, 4)]",
                key="map.explicit",
                pair=repr(pair),
            )
        layer_pairs.append(LayerPair(*pair))
    return tuple(layer_pairs)


RULES: dict[str, Callable[..., Pairs]] = {
    "uniform": uniform,
    "last": last,
    "first": first,
    "reverse": reverse,
    "all_to_one": all_to_one,
    "skip": skip,
    "final": final,
    "middle": middle,
}


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _layers(count: int) -> range:
    return range(1, count + 1)


def _spread(m: int, student_layers: int, teacher_layers: int) -> int:
    return (2 * m * teacher_layers + student_layers) // (2 * student_layers)


def _with_embeddings(pairs: list[LayerPair], embeddings: bool) -> Pairs:
    return (LayerPair(0, 0), *pairs) if embeddings else tuple(pairs)


def _at_most(student_layers: int, teacher_layers: int, rule: str) -> None:
    if student_layers > teacher_layers:
        raise ConfigError(
            f"{rule} needs a student that is not deeper than the teacher, but the student has {student_layers} layers "
            f"and the teacher {teacher_layers}",
            hint="use uniform, or name the pairs",
            key="map.depth",
            rule=rule,
            student_layers=student_layers,
            teacher_layers=teacher_layers,
        )
