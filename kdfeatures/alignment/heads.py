"""Bring the attention heads of student and teacher to one count, so that unequal heads can be compared.

All work on the operands q and k, so no loss ever holds an L x L map for it. An alignment is built for the mapped pairs
of one term; forward takes a pair, its two AttentionStates and the mask, (B, L) with True for real tokens, and returns
both with equal head counts (`compared_heads`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from kdfeatures.errors import ConfigError
from kdfeatures.features import AttentionStates
from kdfeatures.mapping.pairs import LayerPair


class HeadSizes(NamedTuple):
    """Head counts H and attention widths H * d of both models."""

    student_heads: int
    student_width: int
    teacher_heads: int
    teacher_width: int


class HeadAlignment(nn.Module):
    """Base: pairs are what will be compared; sizes are those of the models' attention.

    compared_heads: the head counts (student, teacher) of what `forward` returns; equal but for SameHeads.
    """

    rule: ClassVar[str]  # the name of its file in conf/heads/
    by_groups: ClassVar[bool] = True  # whether it takes probabilities between groups of tokens (token_groups)
    takes_bias: ClassVar[bool] = True  # whether it takes scores with position terms

    def __init__(self, pairs: Sequence[LayerPair], sizes: HeadSizes) -> None:
        super().__init__()
        self.heads = sizes.student_heads, sizes.teacher_heads
        self.widths = sizes.student_width, sizes.teacher_width
        self.compared_heads = self.heads

    @property
    def is_fitted(self) -> bool:
        """False while what it measures before training is not there."""
        return True

    def state(self) -> dict[str, Any]:
        """Return what results.json keeps of it, by pair of layers."""
        return {}

    def check_training(self, *, sharded: bool, streaming: bool) -> None:
        """Raise ConfigError where it cannot be trained with parameters that are sharded, or on a stream of examples."""

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        raise NotImplementedError


class SameHeads(HeadAlignment):
    """Head h with head h; losses refuse unequal counts."""

    rule = "same"

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        return student, teacher


class MeanHeads(HeadAlignment):
    """The mean over heads of the scores, 1/H sum_h scale q_h k_h', one head on each side.

    It is a product of concatenated heads, scale/H [q_1 .. q_H] [k_1 .. k_H]', so the sum over heads needs no maps.
    Unlike the mean of probabilities, it is taken before the softmax.
    """

    rule = "mean"

    def __init__(self, pairs: Sequence[LayerPair], sizes: HeadSizes) -> None:
        super().__init__(pairs, sizes)
        self.compared_heads = 1, 1

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        student_heads, teacher_heads = self.heads
        return (
            resplit(student, 1)._replace(scale=student.scale / student_heads, bias=_mean_bias(student)),
            resplit(teacher, 1)._replace(scale=teacher.scale / teacher_heads, bias=_mean_bias(teacher)),
        )


class RelationHeads(HeadAlignment):
    """Queries and keys of all heads concatenated and split again into `count` heads, as MiniLMv2 has it for relations.

    Scores are then q_r k_r' / sqrt(d_r), d_r = width / count (arXiv:2012.15828, section 3.2). Unlike RelationKL, which
    relates queries with queries, this compares queries with keys. Raises ConfigError unless count divides both widths.
    """

    rule = "relation"
    by_groups: ClassVar[bool] = False
    takes_bias: ClassVar[bool] = False

    def __init__(self, pairs: Sequence[LayerPair], sizes: HeadSizes, *, count: int = 8) -> None:
        super().__init__(pairs, sizes)
        if count < 1 or any(width % count for width in self.widths):
            raise ConfigError(
                f"must divide both attention widths, {sizes.student_width} (student) and {sizes.teacher_width} "
                f"(teacher); {math.gcd(*self.widths)} and its divisors do",
                argument="count",
                value=count,
            )
        self.compared_heads = count, count

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        count, _ = self.compared_heads
        student_width, teacher_width = self.widths
        return (
            resplit(student, count)._replace(scale=math.sqrt(count / student_width)),
            resplit(teacher, count)._replace(scale=math.sqrt(count / teacher_width)),
        )


def resplit(states: AttentionStates, heads: int) -> AttentionStates:
    """Return states whose heads, concatenated, are split again into so many; without their bias."""

    def split(x: Tensor) -> Tensor:
        batch, _, length, _ = x.shape
        return x.transpose(1, 2).reshape(batch, length, heads, -1).transpose(1, 2)

    operands = (split(states.query), split(states.key), split(states.value))
    return AttentionStates(*operands, states.scale, for_all_heads(states.allowed), positional=states.positional)


def _mean_bias(states: AttentionStates) -> Tensor | None:
    return None if states.bias is None else states.bias.mean(1, keepdim=True)


def for_all_heads(allowed: Tensor | None) -> Tensor | None:
    """Return what every head may attend to; raises ConfigError where they differ, so that heads cannot be mixed."""
    if allowed is not None and allowed.ndim == 4 and allowed.shape[1] > 1:
        if not (allowed == allowed[:, :1]).all():
            raise ConfigError(
                "the heads of a model attend to different tokens and cannot be mixed", hint="use heads=hungarian"
            )
        return allowed[:, :1]
    return allowed
