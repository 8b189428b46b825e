"""Layer maps: which student layer learns from which teacher layer.

A map is a tuple of pairs; a layer may stand in several pairs on either side (many-to-many). A rule is one function
`rule(student_layers, teacher_layers, **its own options) -> pairs`; to add one, write it here and give it a YAML in
conf/mapping/. M student layers and N teacher layers in the formulas; layer 0 is the embeddings. Maps that change while
the student trains, or are measured before, are in kdfeatures.mapping.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from kdfeatures.errors import UserError


class LayerPair(NamedTuple):
    """One matched pair of layers, counted from 1; 0 is the embeddings."""

    student: int
    teacher: int

    @property
    def projection(self) -> str:
        """The name of the learned projection that its hidden states go through."""
        return f"{self.student}_to_{self.teacher}"


class CandidatePair(LayerPair):
    """One of several teacher layers that a student layer may learn from by a moving map. It equals the plain pair.

    All candidates of a student layer share one projection. Of as many as there are pairs, each would be trained only
    while its pair is compared (a random map), or would make any teacher layer fit, so that costs would not tell layers
    apart (transport, learned weights); and a mix of teacher layers is compared in one space.
    """

    __slots__ = ()

    @property
    def projection(self) -> str:
        return f"{self.student}_to_any"


def uniform(student_layers: int, teacher_layers: int, *, embeddings: bool) -> tuple[LayerPair, ...]:
    """m -> m N / M, the map of TinyBERT (arXiv:1909.10351), rounded half up when M does not divide N."""
    pairs = [LayerPair(m, _spread(m, student_layers, teacher_layers)) for m in _layers(student_layers)]
    return _with_embeddings(pairs, embeddings)


def last(student_layers: int, teacher_layers: int, *, embeddings: bool, final: bool) -> tuple[LayerPair, ...]:
    """m -> m + N - M: the student learns from the top of the teacher.

    final: also M -> N. Without it and the embeddings it is PKD-last (arXiv:1908.09355): 6 of 12 gives 7 to 11.
    """
    _at_most(student_layers, teacher_layers, "last")
    offset = teacher_layers - student_layers
    return _with_embeddings([LayerPair(m, m + offset) for m in range(1, student_layers + final)], embeddings)


def first(student_layers: int, teacher_layers: int, *, embeddings: bool) -> tuple[LayerPair, ...]:
    """m -> m: the student learns from the bottom of the teacher."""
    _at_most(student_layers, teacher_layers, "first")
    return _with_embeddings([LayerPair(m, m) for m in _layers(student_layers)], embeddings)


def reverse(student_layers: int, teacher_layers: int, *, embeddings: bool) -> tuple[LayerPair, ...]:
    """m -> (M + 1 - m) N / M: `uniform` upside down, a control for whether it matters which layers are matched."""
    pairs = [
        LayerPair(m, _spread(student_layers + 1 - m, student_layers, teacher_layers)) for m in _layers(student_layers)
    ]
    return _with_embeddings(pairs, embeddings)


def all_to_one(
    student_layers: int, teacher_layers: int, *, teacher_layer: int | None, embeddings: bool
) -> tuple[LayerPair, ...]:
    """m -> `teacher_layer` (None: N): all layers learn from one, a control as in arXiv:2502.04499."""
    one = teacher_layers if teacher_layer is None else teacher_layer
    return _with_embeddings([LayerPair(m, one) for m in _layers(student_layers)], embeddings)


def skip(student_layers: int, teacher_layers: int) -> tuple[LayerPair, ...]:
    """m -> m N / M without the final layer, PKD-skip (arXiv:1908.09355): 6 of 12 gives 2, 4, 6, 8, 10.

    Unlike `uniform`, the last layer of both sides is left to the logit loss.
    """
    if student_layers < 2:
        raise UserError(
            f"mapping=skip leaves the final layer out, so a student with {student_layers} layer has nothing to match; "
            "use mapping=final."
        )
    return tuple(LayerPair(m, _spread(m, student_layers, teacher_layers)) for m in range(1, student_layers))


def final(student_layers: int, teacher_layers: int, *, teacher_layer: int | None) -> tuple[LayerPair, ...]:
    """M -> `teacher_layer` (None: N): the one pair of MiniLM (arXiv:2002.10957).

    MiniLMv2 takes layer 21 of a 24-layer BERT and layer 19 of a 24-layer RoBERTa.
    """
    return (LayerPair(student_layers, teacher_layers if teacher_layer is None else teacher_layer),)


def middle(
    student_layers: int, teacher_layers: int, *, student_layer: int | None, teacher_layer: int | None
) -> tuple[LayerPair, ...]:
    """One pair, FitNets' guided and hint layer (arXiv:1412.6550); None: the middle one, M / 2 and N / 2 rounded up."""
    guided = (student_layers + 1) // 2 if student_layer is None else student_layer
    return (LayerPair(guided, (teacher_layers + 1) // 2 if teacher_layer is None else teacher_layer),)


def explicit(student_layers: int, teacher_layers: int, *, pairs: Sequence[Sequence[int]]) -> tuple[LayerPair, ...]:
    """The pairs as the user wrote them: [[student layer, teacher layer], ...]."""
    made = []
    for pair in pairs if _is_list(pairs) else [pairs]:
        if not _is_list(pair) or len(pair) != 2 or not all(type(n) is int for n in pair):
            raise UserError(
                f"mapping.pairs must be a list of [student layer, teacher layer], but holds {pair!r}; "
                "write for instance mapping.pairs=[[1,2],[2,4]]."
            )
        made.append(LayerPair(*pair))
    return tuple(made)


def validate(pairs: Sequence[LayerPair], student_layers: int, teacher_layers: int) -> None:
    """Raise UserError when a pair names a layer that does not exist, when one stands twice, or when there is none."""
    if not pairs:
        raise UserError("the layer mapping has no pairs; name at least one, for instance mapping.pairs=[[1,2]].")
    for pair in pairs:
        if not 0 <= pair.student <= student_layers:
            raise UserError(
                f"mapping pairs student layer {pair.student} with teacher layer {pair.teacher}, but the student has "
                f"{student_layers} layers (0 is the embeddings)."
            )
        if not 0 <= pair.teacher <= teacher_layers:
            raise UserError(
                f"mapping pairs student layer {pair.student} with teacher layer {pair.teacher}, but the teacher has "
                f"{teacher_layers} layers (0 is the embeddings)."
            )
    twice = {tuple(pair) for pair in pairs if list(pairs).count(pair) > 1}
    if twice:
        raise UserError(f"mapping holds the pair {list(min(twice))} more than once; weigh its term instead.")


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _layers(count: int) -> range:
    return range(1, count + 1)


def _spread(m: int, student_layers: int, teacher_layers: int) -> int:
    return (2 * m * teacher_layers + student_layers) // (2 * student_layers)


def _with_embeddings(pairs: list[LayerPair], embeddings: bool) -> tuple[LayerPair, ...]:
    return (LayerPair(0, 0), *pairs) if embeddings else tuple(pairs)


def _at_most(student_layers: int, teacher_layers: int, rule: str) -> None:
    if student_layers > teacher_layers:
        raise UserError(
            f"mapping={rule} needs a student that is not deeper than the teacher, but the student has "
            f"{student_layers} layers and the teacher {teacher_layers}; use mapping=uniform or mapping=explicit."
        )
