"""Projections and ways to bring heads together as users write them: a name, or what makes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from torch import nn

from kdfeatures.alignment.heads import HeadAlignment, HeadSizes, MeanHeads, RelationHeads, SameHeads
from kdfeatures.alignment.hungarian import HungarianHeads
from kdfeatures.alignment.learned_heads import LearnedHeads
from kdfeatures.alignment.pca import PcaProjections
from kdfeatures.alignment.projections import LinearProjections, OrthonormalProjections
from kdfeatures.alignment.task_aware import TaskAwareProjections
from kdfeatures.errors import ConfigError, nearest
from kdfeatures.mapping.pairs import LayerPair

ProjectionMaker = Callable[[Sequence[LayerPair], int, int], nn.Module]  # pairs, student width, teacher width
HeadsMaker = Callable[[Sequence[LayerPair], HeadSizes], HeadAlignment]
PROJECTIONS: dict[str, ProjectionMaker] = {
    "linear": LinearProjections,
    "shared": partial(LinearProjections, shared=True),
    "orthonormal": OrthonormalProjections,
    "pca": PcaProjections,
    "task_aware": TaskAwareProjections,
}
HEADS: dict[str, HeadsMaker] = {
    maker.rule: maker for maker in (SameHeads, MeanHeads, RelationHeads, LearnedHeads, HungarianHeads)
}
Maker = TypeVar("Maker", bound=Callable)


def projection_maker(projection: str | ProjectionMaker) -> ProjectionMaker:
    """Return what makes projections: of a name in PROJECTIONS, or `projection` itself. ConfigError for other names."""
    return _by_name(projection, PROJECTIONS, "projection", "projection")


def heads_maker(heads: str | HeadsMaker) -> HeadsMaker:
    """Return what brings heads together: of a name in HEADS, or `heads` itself. Raises ConfigError for other names."""
    return _by_name(heads, HEADS, "heads", "way to bring heads together")


def _by_name(name_or_maker: str | Maker, makers: dict[str, Maker], argument: str, noun: str) -> Maker:
    if not isinstance(name_or_maker, str):
        return name_or_maker
    if name_or_maker not in makers:
        raise ConfigError(
            f"is no {noun}{nearest(name_or_maker, makers)}",
            argument=argument,
            value=name_or_maker,
            hint=f"choose from {', '.join(makers)}, or give what makes one",
        )
    return makers[name_or_maker]
