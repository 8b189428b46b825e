"""Each student head with the teacher head most like it, one to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdfeatures.alignment.heads import HeadAlignment, HeadSizes
from kdfeatures.errors import ConfigError, nearest
from kdfeatures.features import AttentionStates
from kdfeatures.mapping.pairs import LayerPair

HEAD_MEASURES = ("divergence", "correlation", "cka")  # what they are: kdfeatures.analysis.head_similarity


class HeadMatches(NamedTuple):
    """heads: (student head, teacher head), from 0. similarity: of each, on texts that they were not matched on."""

    heads: Sequence[tuple[int, int]]
    similarity: Sequence[float]


class HungarianHeads(HeadAlignment):
    """Each student head with the teacher head that is most like it, one to one; what is left over is not compared.

    `fit` is told the matching of each pair before training (kdfeatures.training.calibration): the summed similarity
    under `measure` (kdfeatures.analysis.head_similarity) on `examples` training examples is the largest possible. It
    is then fixed: a student that copies teacher layers keeps their heads; for one with random weights it is little
    more than a drawn order.
    """

    rule = "hungarian"

    def __init__(
        self, pairs: Sequence[LayerPair], sizes: HeadSizes, *, measure: str = "divergence", examples: int = 128
    ) -> None:
        super().__init__(pairs, sizes)
        if measure not in HEAD_MEASURES:
            raise ConfigError(
                f"the measure {measure} is unknown{nearest(measure, HEAD_MEASURES)}",
                hint=f"choose from {', '.join(HEAD_MEASURES)}",
            )
        if examples < 4:
            raise ConfigError("must be at least 4", argument="examples", value=examples)
        self.measure, self.examples = measure, examples
        self.compared_heads = min(self.heads), min(self.heads)
        for pair in pairs:
            # until it is fitted, the first heads with the first heads
            self.register_buffer(_key(pair), torch.arange(min(self.heads)).repeat(2, 1))
            self.register_buffer(f"{_key(pair)}_similarity", torch.full((min(self.heads),), torch.nan))

    def fit(self, matches: Mapping[LayerPair, HeadMatches]) -> None:
        """Take the matching of every pair of layers."""
        for pair, matched in matches.items():
            self.get_buffer(_key(pair)).copy_(torch.tensor(matched.heads).mT)
            self.get_buffer(f"{_key(pair)}_similarity").copy_(torch.tensor(matched.similarity))

    @property
    def is_fitted(self) -> bool:
        return any(x.isfinite().any() for name, x in self.named_buffers() if name.endswith("_similarity"))

    def state(self) -> dict[str, Any]:
        return {
            name: {
                "pairs": order.mT.tolist(),
                "similarity": [round(x, 4) for x in self.get_buffer(f"{name}_similarity").tolist()],
            }
            for name, order in self.named_buffers()
            if not name.endswith("_similarity")
        }

    def check_training(self, *, sharded: bool, streaming: bool) -> None:
        if streaming:
            raise ConfigError(
                "hungarian compares heads on chosen examples, which a stream cannot give",
                hint="bring heads together otherwise, or give a dataset in memory",
                key="heads.streaming",
            )

    def forward(
        self, pair: LayerPair, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None
    ) -> tuple[AttentionStates, AttentionStates]:
        student_order, teacher_order = self.get_buffer(_key(pair)).unbind()
        return _chosen(student, student_order), _chosen(teacher, teacher_order)


def _key(pair: LayerPair) -> str:
    return f"{pair.student}_to_{pair.teacher}"


def _chosen(states: AttentionStates, order: Tensor) -> AttentionStates:
    allowed = states.allowed
    if allowed is not None and allowed.ndim == 4 and allowed.shape[1] > 1:
        allowed = allowed[:, order]
    query, key, value = (x[:, order] for x in (states.query, states.key, states.value))
    bias = None if states.bias is None else states.bias[:, order]
    return AttentionStates(query, key, value, states.scale, allowed, positional=states.positional, bias=bias)
