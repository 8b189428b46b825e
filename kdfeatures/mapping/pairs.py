"""Pairs of layers: which student layer learns from which teacher layer, counted from 1; 0 is the embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kdfeatures.errors import ConfigError

DEFAULT_TEACHER = "main"  # what the first or only teacher is called where there are others


class LayerPair(NamedTuple):
    """One matched pair of layers, counted from 1; 0 is the embeddings.

    >>> LayerPair(1, 4).projection
    '1_to_4'
    """

    student: int
    teacher: int

    @property
    def projection(self) -> str:
        """The name of the learned projection that its hidden states go through."""
        return f"{self.student}_to_{self.teacher}"


class CandidatePair(LayerPair):
    """One of several teacher layers that a student layer may learn from by a dynamic map. It equals the plain pair.

    All candidates of a student layer share one projection. Of as many as there are pairs, each would be trained only
    while its pair is compared (a random map), or would make any teacher layer fit, so that costs would not tell layers
    apart (transport, learned weights); and a mix of teacher layers is compared in one space.
    """

    __slots__ = ()

    @property
    def projection(self) -> str:
        return f"{self.student}_to_any"


def check_pairs(pairs: Sequence[LayerPair], student_layers: int, teacher_layers: int) -> None:
    """Raise ConfigError when a pair names a layer that does not exist, when one stands twice, or when there is none."""
    if not pairs:
        raise ConfigError(
            "the layer map has no pairs", hint="name at least one, for instance [(1, 2)]", key="map.empty"
        )
    for pair in pairs:
        for side, layer, layers in (
            ("student", pair.student, student_layers),
            ("teacher", pair.teacher, teacher_layers),
        ):
            if not 0 <= layer <= layers:
                raise ConfigError(
                    f"mapping pairs student layer {pair.student} with teacher layer {pair.teacher}, but the {side} has "
                    f"{layers} layers (0 is the embeddings)"
                )
    twice = {tuple(pair) for pair in pairs if list(pairs).count(pair) > 1}
    if twice:
        raise ConfigError(f"mapping holds the pair {list(min(twice))} more than once; weigh its term instead")
