"""Bring the attention heads of student and teacher to one count, so that unequal heads can be compared.

All work on the operands q and k, so no loss ever holds an L x L map for it. An alignment is built for the mapped pairs
of one term; forward takes a pair, its two AttentionStates and the mask, (B, L) with True for real tokens, and returns
both with equal head counts (`compared`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from kdfeatures.analysis.compare_heads import HeadComparison
from kdfeatures.analysis.head_similarity import check_measure
from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates
from kdfeatures.mapping.rules import LayerPair
from kdfeatures.masking import blank_padding, real_tokens


class HeadSizes(NamedTuple):
    """Head counts H and attention widths H * d of both models."""

    student_heads: int
    student_width: int
    teacher_heads: int
    teacher_width: int


class HeadAlignment(nn.Module):
    """Base: pairs are what will be compared; sizes are those of the models' attention.

    compared: the head counts (student, teacher) of what `forward` returns; equal but for SameHeads.
    """

    rule: ClassVar[str]  # the name of its file in conf/heads/

    def __init__(self, pairs: Sequence[LayerPair], sizes: HeadSizes) -> None:
        super().__init__()
        self.heads = sizes.student_heads, sizes.teacher_heads
        self.widths = sizes.student_width, sizes.teacher_width
        self.compared = self.heads

    def state(self) -> dict[str, Any]:
        """Return what results.json keeps of it, by pair of layers."""
        return {}

    def check_training(self, arguments: TrainingArguments, *, streaming: bool) -> None:
        """Raise UserError where it cannot be trained as the arguments say, or on a stream of examples."""

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
        self.compared = 1, 1

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
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

    rule = "relation"

    def __init__(self, pairs: Sequence[LayerPair], sizes: HeadSizes, *, count: int) -> None:
        super().__init__(pairs, sizes)
        if count < 1 or any(width % count for width in self.widths):
            raise UserError(
                f"heads.count={count} must divide both attention widths, {sizes.student_width} (student) and "
                f"{sizes.teacher_width} (teacher); {math.gcd(*self.widths)} and its divisors do."
            )
        self.compared = count, count

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        return tuple(
            _resplit(states, count)._replace(scale=math.sqrt(count / width))
            for states, width, count in zip((student, teacher), self.widths, self.compared, strict=True)
        )


class LearnedHeads(HeadAlignment):
    """For each teacher head a learned mix of the student's scores: sum_s W_ts scale q_s k_s'.

    W (H_t, H_s) of each pair begins as 1 / H_s, and is learned with the student; the teacher's scores stay as they are,
    so nothing can collapse. A mix of scores is a product of operands, [W_t1 q_1 .. W_tH q_H] [k_1 .. k_H]': H_t heads
    of the student's whole width.
    """

    rule = "learned"

    def __init__(self, pairs: Sequence[LayerPair], sizes: HeadSizes) -> None:
        super().__init__(pairs, sizes)
        self.compared = sizes.teacher_heads, sizes.teacher_heads
        even = torch.full((sizes.teacher_heads, sizes.student_heads), 1 / sizes.student_heads)
        # candidates of a moving map share one: each of its own would be trained only while its pair is compared
        self.mix = nn.ParameterDict({pair.projection: nn.Parameter(even.clone()) for pair in pairs})

    def state(self) -> dict[str, Any]:
        return {name: [[round(x, 4) for x in row] for row in mix.tolist()] for name, mix in self.mix.items()}

    def check_training(self, arguments: TrainingArguments, *, streaming: bool) -> None:
        if arguments.fsdp:
            raise UserError(
                "heads=learned trains mixes that trainer.fsdp=true would shard over the processes; leave out one of "
                "the two."
            )

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        mix = self.mix[pair.projection]
        # what padding holds must not reach the mix's gradient, where a loss can no longer mask it
        blank = blank_padding(student.query, real_tokens(mask, student.query))
        query = torch.einsum("ts,bsld->btlsd", mix.to(blank.dtype), blank).flatten(3)
        key = student.key.transpose(1, 2).flatten(2)[:, None].expand(-1, len(mix), -1, -1)
        allowed = _for_all_heads(student.allowed)
        return student._replace(query=query, key=key, value=key, allowed=allowed, used=None), teacher


class HungarianHeads(HeadAlignment):
    """Each student head with the teacher head that is most like it, one to one; what is left over is not compared.

    `fit` is told the matching of each pair before training (kdfeatures.training.calibration): the summed similarity
    under `measure` (kdfeatures.analysis.head_similarity) on `examples` training examples is the largest possible. It
    is then fixed: a student that copies teacher layers keeps their heads; for one with random weights it is little
    more than a drawn order.
    """

    rule = "hungarian"

    def __init__(self, pairs: Sequence[LayerPair], sizes: HeadSizes, *, measure: str, examples: int) -> None:
        super().__init__(pairs, sizes)
        check_measure(measure)
        if examples < 4:
            raise UserError(f"heads.examples={examples} must be at least 4.")
        self.measure, self.examples = measure, examples
        self.compared = min(self.heads), min(self.heads)
        for pair in pairs:
            # until it is fitted, the first heads with the first heads
            self.register_buffer(_key(pair), torch.arange(min(self.heads)).repeat(2, 1))
            self.register_buffer(f"{_key(pair)}_similarity", torch.full((min(self.heads),), torch.nan))

    def fit(self, found: Mapping[LayerPair, HeadComparison]) -> None:
        """Take the matching of every pair, and how similar matched heads are on texts that it was not fitted to."""
        for pair, one in found.items():
            self.get_buffer(_key(pair)).copy_(torch.tensor(one.matching.pairs).mT)
            self.get_buffer(f"{_key(pair)}_similarity").copy_(torch.tensor(one.matching.on(one.similarity)))

    def state(self) -> dict[str, Any]:
        return {
            name: {
                "pairs": order.mT.tolist(),
                "similarity": [round(x, 4) for x in self.get_buffer(f"{name}_similarity").tolist()],
            }
            for name, order in self.named_buffers()
            if not name.endswith("_similarity")
        }

    def check_training(self, arguments: TrainingArguments, *, streaming: bool) -> None:
        if streaming:
            raise UserError(
                "heads=hungarian compares heads on chosen examples, which a stream cannot give; use another heads=, or "
                "data.streaming=false."
            )

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        chosen = self.get_buffer(_key(pair))
        return tuple(_chosen(states, order) for states, order in zip((student, teacher), chosen, strict=True))


def _key(pair: LayerPair) -> str:
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
