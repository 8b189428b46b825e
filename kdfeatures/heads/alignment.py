"""Bring the attention heads of student and teacher to one count, so that unequal heads can be compared.

All work on the operands q and k, so no loss ever holds an L x L map for it. An alignment is built for the mapped pairs
of one term; forward takes a pair, its two AttentionStates and the mask, (B, L) with True for real tokens, and returns
both with equal head counts (`compared`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates
from kdfeatures.heads.matching import HeadMatching
from kdfeatures.heads.similarity import check_measure
from kdfeatures.mapping import Pair
from kdfeatures.masking import blank_padding, real_tokens


class HeadAlignment(nn.Module):
    """Base: pairs are what will be compared; heads and widths (H * d) are those of the models' attention.

    compared: the head count of what `forward` returns.
    """

    told: ClassVar[str]  # in a few words, for reports
    learns: ClassVar[bool] = False  # whether it has parameters that are trained with the student

    def __init__(
        self, pairs: Sequence[Pair], student_heads: int, student_width: int, teacher_heads: int, teacher_width: int
    ) -> None:
        super().__init__()
        self.heads = student_heads, teacher_heads
        self.widths = student_width, teacher_width
        self.compared = student_heads

    def forward(
        self, pair: Pair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        raise NotImplementedError


class SameHeads(HeadAlignment):
    """Head h with head h. Raises UserError for unequal counts."""

    told = "head h with head h"

    def __init__(
        self, pairs: Sequence[Pair], student_heads: int, student_width: int, teacher_heads: int, teacher_width: int
    ) -> None:
        super().__init__(pairs, student_heads, student_width, teacher_heads, teacher_width)
        if student_heads != teacher_heads:
            raise UserError(
                f"heads=same compares head with head, but the student has {student_heads} heads and the teacher "
                f"{teacher_heads}; use heads=hungarian, mean, learned or relation, or a loss for any heads "
                "(recipe=minilmv2_joint)."
            )

    def forward(
        self, pair: Pair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        return student, teacher


class MeanHeads(HeadAlignment):
    """The mean over heads of the scores, 1/H sum_h scale q_h k_h', one head on each side.

    It is a product of concatenated heads, scale/H [q_1 .. q_H] [k_1 .. k_H]', so the sum over heads needs no maps.
    Unlike the mean of probabilities, it is taken before the softmax.
    """

    told = "the mean of all heads' scores"

    def __init__(
        self, pairs: Sequence[Pair], student_heads: int, student_width: int, teacher_heads: int, teacher_width: int
    ) -> None:
        super().__init__(pairs, student_heads, student_width, teacher_heads, teacher_width)
        self.compared = 1

    def forward(
        self, pair: Pair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        return tuple(
            _resplit(states, 1)._replace(scale=states.scale / own)
            for states, own in zip((student, teacher), self.heads, strict=True)
        )


class RelationHeads(HeadAlignment):
    """Queries and keys of all heads concatenated and split again into `count` heads, as MiniLMv2 has it for relations.

    Scores are then q_r k_r' / sqrt(d_r), d_r = width / count (arXiv:2012.15828, section 3.2). Unlike RelationKL, which
    relates queries with queries, this compares queries with keys. Raises UserError unless count divides both widths.
    """

    told = "concatenated heads, split alike"

    def __init__(
        self,
        pairs: Sequence[Pair],
        student_heads: int,
        student_width: int,
        teacher_heads: int,
        teacher_width: int,
        *,
        count: int,
    ) -> None:
        super().__init__(pairs, student_heads, student_width, teacher_heads, teacher_width)
        if count < 1 or any(width % count for width in self.widths):
            raise UserError(
                f"heads.count={count} must divide both attention widths, {student_width} (student) and "
                f"{teacher_width} (teacher); {math.gcd(student_width, teacher_width)} and its divisors do."
            )
        self.compared = count

    def forward(
        self, pair: Pair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        return tuple(
            _resplit(states, self.compared)._replace(scale=math.sqrt(self.compared / width))
            for states, width in zip((student, teacher), self.widths, strict=True)
        )


class LearnedHeads(HeadAlignment):
    """For each teacher head a learned mix of the student's scores: sum_s W_ts scale q_s k_s'.

    W (H_t, H_s) of each pair begins as 1 / H_s, and is learned with the student; the teacher's scores stay as they are,
    so nothing can collapse. A mix of scores is a product of operands, [W_t1 q_1 .. W_tH q_H] [k_1 .. k_H]': H_t heads
    of the student's whole width.
    """

    told = "learned mixes of the student's heads"
    learns = True

    def __init__(
        self, pairs: Sequence[Pair], student_heads: int, student_width: int, teacher_heads: int, teacher_width: int
    ) -> None:
        super().__init__(pairs, student_heads, student_width, teacher_heads, teacher_width)
        self.compared = teacher_heads
        even = torch.full((teacher_heads, student_heads), 1 / student_heads)
        self.mix = nn.ParameterDict({_key(pair): nn.Parameter(even.clone()) for pair in pairs})

    def forward(
        self, pair: Pair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        mix = self.mix[_key(pair)]
        # what padding holds must not reach the mix's gradient, where a loss can no longer mask it
        blank = blank_padding(student.query, real_tokens(mask, student.query))
        query = torch.einsum("ts,bsld->btlsd", mix.to(blank.dtype), blank).flatten(3)
        key = student.key.transpose(1, 2).flatten(2)[:, None].expand(-1, len(mix), -1, -1)
        allowed = _for_all_heads(student.allowed)
        return student._replace(query=query, key=key, value=key, allowed=allowed, used=None), teacher


class HungarianHeads(HeadAlignment):
    """Each student head with the teacher head that is most like it, one to one; what is left over is not compared.

    `fit` is told the matching of each pair before training (kdfeatures.head_fit): the summed similarity under `measure`
    (kdfeatures.heads.similarity) on `examples` training examples is the largest possible. It is then fixed: a student
    that copies teacher layers keeps their heads; for one with random weights it is little more than a drawn order.
    """

    told = "heads matched by similarity"

    def __init__(
        self,
        pairs: Sequence[Pair],
        student_heads: int,
        student_width: int,
        teacher_heads: int,
        teacher_width: int,
        *,
        measure: str,
        examples: int,
    ) -> None:
        super().__init__(pairs, student_heads, student_width, teacher_heads, teacher_width)
        check_measure(measure)
        if examples < 1:
            raise UserError(f"heads.examples={examples} must be at least 1.")
        self.measure, self.examples = measure, examples
        self.compared = min(self.heads)
        self.matchings: dict[Pair, HeadMatching] = {}
        for pair in pairs:
            # until it is fitted, the first heads with the first heads
            self.register_buffer(_key(pair), torch.arange(self.compared).repeat(2, 1))

    def fit(self, matchings: Mapping[Pair, HeadMatching]) -> None:
        """Take the matching of every pair."""
        self.matchings = dict(matchings)
        for pair, matching in matchings.items():
            self.get_buffer(_key(pair)).copy_(torch.tensor(matching.pairs).mT)

    def forward(
        self, pair: Pair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        chosen = self.get_buffer(_key(pair))
        return tuple(_chosen(states, order) for states, order in zip((student, teacher), chosen, strict=True))


def _key(pair: Pair) -> str:
    return f"{pair.student}_to_{pair.teacher}"


def _resplit(states: AttentionStates, heads: int) -> AttentionStates:
    def split(x: Tensor) -> Tensor:
        batch, _, length, _ = x.shape
        return x.transpose(1, 2).reshape(batch, length, heads, -1).transpose(1, 2)

    operands = (split(states.query), split(states.key), split(states.value))
    return AttentionStates(*operands, states.scale, _for_all_heads(states.allowed), positional=states.positional)


def _chosen(states: AttentionStates, order: Tensor) -> AttentionStates:
    allowed = states.allowed
    if allowed is not None and allowed.ndim == 4 and allowed.shape[1] > 1:
        allowed = allowed[:, order]
    operands = (x[:, order] for x in (states.query, states.key, states.value))
    return AttentionStates(*operands, states.scale, allowed, positional=states.positional)


def _for_all_heads(allowed: Tensor | None) -> Tensor | None:
    """Return what every head may attend to; raises UserError where they differ, so that heads cannot be mixed."""
    if allowed is not None and allowed.ndim == 4 and allowed.shape[1] > 1:
        if not (allowed == allowed[:, :1]).all():
            raise UserError("the heads of a model attend to different tokens and cannot be mixed; use heads=hungarian.")
        return allowed[:, :1]
    return allowed
