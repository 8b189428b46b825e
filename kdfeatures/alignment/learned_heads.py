"""Unequal heads brought together by a learned mix of the student's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from kdfeatures.alignment.heads import HeadAlignment, HeadSizes, for_all_heads
from kdfeatures.errors import ConfigError
from kdfeatures.features import AttentionStates
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.masking import blank_padding, real_tokens


class LearnedHeads(HeadAlignment):
    """For each teacher head a learned mix of the student's scores: sum_s W_ts scale q_s k_s'.

    W (H_t, H_s) of each pair begins as 1 / H_s, and is learned with the student; the teacher's scores stay as they are,
    so nothing can collapse. A mix of scores is a product of operands, [W_t1 q_1 .. W_tH q_H] [k_1 .. k_H]': H_t heads
    of the student's whole width.
    """

    rule = "learned"

    def __init__(self, pairs: Sequence[LayerPair], sizes: HeadSizes) -> None:
        super().__init__(pairs, sizes)
        self.compared_heads = sizes.teacher_heads, sizes.teacher_heads
        even = torch.full((sizes.teacher_heads, sizes.student_heads), 1 / sizes.student_heads)
        # candidates of a moving map share one: each of its own would be trained only while its pair is compared
        self.mix = nn.ParameterDict({pair.projection: nn.Parameter(even.clone()) for pair in pairs})

    def state(self) -> dict[str, Any]:
        return {name: [[round(x, 4) for x in row] for row in mix.tolist()] for name, mix in self.mix.items()}

    def check_training(self, *, sharded: bool, streaming: bool) -> None:
        if sharded:
            raise ConfigError(
                "learned heads train mixes that FSDP would shard over the processes",
                hint="leave out one of the two",
                key="heads.sharded",
            )

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        mix = self.mix[pair.projection]
        # what padding holds must not reach the mix's gradient, where a loss can no longer mask it
        blank = blank_padding(student.query, real_tokens(mask, student.query))
        query = torch.einsum("ts,bsld->btlsd", mix.to(blank.dtype), blank).flatten(3)
        key = student.key.transpose(1, 2).flatten(2)[:, None].expand(-1, len(mix), -1, -1)
        allowed = for_all_heads(student.allowed)
        bias = student.bias
        if bias is not None:
            real = real_tokens(mask, student.query)
            bias = torch.where(real[:, None, :, None] & real[:, None, None], bias, 0)
        bias = None if bias is None else torch.einsum("ts,bsij->btij", mix.to(bias.dtype), bias)
        return student._replace(query=query, key=key, value=key, allowed=allowed, used=None, bias=bias), teacher
