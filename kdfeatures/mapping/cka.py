"""The map that follows from how similar the layers of teacher and student are before training."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from kdfeatures.errors import ConfigError
from kdfeatures.mapping.dynamic import DynamicLayerMap
from kdfeatures.mapping.pairs import LayerPair


class CkaMap(DynamicLayerMap):
    """The map with the largest sum of CKA(m, f(m)) among all f with f(1) <= f(2) <= ... <= f(M), f(m) from 1 to N.

    CKA: debiased and linear, of hidden states with tokens as samples (kdfeatures.analysis.compare_layers), of the
    student as it begins. Until `fit` all pairs are candidates. A student that copies teacher layers is most similar to
    those; for random weights it says little more than that inputs are alike, and mapping=uniform is the better guess.
    examples: how many training examples are measured.
    """

    rule = "cka"
    supports: ClassVar = ("hidden", "attention", "flow")
    summary = "the most similar teacher layers, measured before training"
    moves = False
    similarity: Tensor  # (M, N), NaN until `fit`
    chosen: Tensor  # (M,), from 1; 0 until `fit`

    def __init__(
        self, student_layers: int, teacher_layers: int, *, examples: int = 256, embeddings: bool = True
    ) -> None:
        if examples < 4:
            raise ConfigError("must be at least 4", argument="examples", value=examples)
        super().__init__(student_layers, teacher_layers, embeddings=embeddings)
        self.examples = examples
        self.register_buffer("similarity", torch.full(self.shape, torch.nan))
        self.register_buffer("chosen", torch.zeros(student_layers, dtype=torch.long))

    def check_training(self, *, sharded: bool, streaming: bool) -> None:
        super().check_training(sharded=sharded, streaming=streaming)
        if streaming:
            raise ConfigError(
                "the map cka is measured on chosen examples, which a stream cannot give",
                hint="use uniform, or a dataset in memory",
                key="map.cka_streaming",
            )

    def fit(self, similarity: Tensor) -> None:
        """Take the CKA of all pairs, (M, N), and choose the map."""
        self.similarity.copy_(similarity)
        self.chosen.copy_(torch.tensor(best_monotone(similarity.tolist())))

    @property
    def is_fitted(self) -> bool:
        return bool(self.chosen.any())

    def active_pairs(self) -> tuple[LayerPair, ...]:
        if not self.is_fitted:
            return self.pairs
        chosen: set[tuple[int, ...]] = {(0, 0), *enumerate(self.chosen.tolist(), 1)}
        return tuple(pair for pair in self.pairs if pair in chosen)

    def weights(self) -> Tensor:
        layers = torch.arange(1, self.shape[1] + 1, device=self.chosen.device)
        return (layers == self.chosen[:, None]).float()

    def measured(self) -> dict[str, Any]:
        return {"similarity": [[round(value, 4) for value in row] for row in self.similarity.tolist()]}


def best_monotone(similarity: list[list[float]]) -> list[int]:
    """Return f(1) <= ... <= f(M), from 1, with the largest sum of similarity[m - 1][f(m) - 1]; the lowest of equals.

    By dynamic programming over S(m, i), the best sum of the first m layers with f(m) <= i. O(M N).
    """
    sums = [0.0] * len(similarity[0])
    ends: list[list[int]] = []  # of layer m: where it ends best among the first i
    for row in similarity:
        best, reached, end = float("-inf"), [], []
        for i, value in enumerate(row):
            if sums[i] + value > best:
                best, position = sums[i] + value, i
            reached.append(best)
            end.append(position)
        sums = reached
        ends.append(end)
    layers, limit = [], len(similarity[0]) - 1
    for end in reversed(ends):
        limit = end[limit]
        layers.append(limit + 1)
    return layers[::-1]
