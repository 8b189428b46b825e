"""A mix of teacher layers as the target of each student layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kdfeatures.errors import ConfigError, nearest
from kdfeatures.mapping.dynamic import BatchWeightedMap
from kdfeatures.masking import blank_padding, real_tokens, token_mean

POOLS = ("cls", "mean")


class AlpMap(BatchWeightedMap):
    """Layer m learns from C_m = sum_i w_mi h_i with w_m = softmax(<g_m, g_i> / temperature), ALP-KD (arXiv:2012.14022).

    h_i: the teacher's hidden states (B, L, D) of all layers but the embeddings. g: a vector of each text and layer, on
    both sides: with pool="cls" that of position 0, as in the paper, with "mean" the mean of its real tokens. So each
    text has weights of its own, which all of its tokens share. The paper compares [CLS] alone; here any loss on hidden
    states may, normalized_cls (position 0) being the nearest to it. Gradients reach the student through w, too.
    temperature: 1 in the paper. Hidden states are long vectors, so that w then lies almost always on one layer; a
    transformer's own attention divides by the square root of the width.
    Student and teacher must have one width, or be projected to it, as `check_loss` says.
    """

    rule = "attention"
    supports: ClassVar = ("hidden",)
    summary = "a mix of all teacher layers, by similarity"
    granularity = "student layer"

    def __init__(
        self,
        student_layers: int,
        teacher_layers: int,
        *,
        pool: Literal["cls", "mean"] = "cls",
        temperature: float = 1.0,
        embeddings: bool = True,
    ) -> None:
        if pool not in POOLS:
            raise ConfigError(
                f"is unknown{nearest(pool, POOLS)}", argument="pool", value=pool, hint="choose cls or mean"
            )
        if not 0 < temperature < math.inf:
            raise ConfigError("must be a finite number above 0", argument="temperature", value=temperature)
        super().__init__(student_layers, teacher_layers, embeddings=embeddings)
        self.pool, self.temperature = pool, temperature

    def check_loss(self, loss: nn.Module, student_width: int, teacher_width: int) -> None:
        super().check_loss(loss, student_width, teacher_width)
        if not loss.needs_projection and student_width != teacher_width:
            raise ConfigError(
                f"the loss compares widths {student_width} (student) and {teacher_width} (teacher) without a "
                "projection, but the map attention weighs layers by dot products",
                hint="give the term a map of its own, such as layers='uniform'",
                key="map.width",
                student_width=student_width,
                teacher_width=teacher_width,
            )

    def compare(
        self,
        layer: int,
        student: Tensor,
        teachers: Sequence[Tensor],
        loss: Callable[[Tensor, Tensor], Tensor],
        mask: Tensor | None,
    ) -> Tensor:
        real = real_tokens(mask, student)
        # what padding holds must not reach the weights' gradient through the mix, where a loss can no longer mask it
        teachers = [blank_padding(states, real) for states in teachers]
        weights = self.weights_of(blank_padding(student, real), teachers, real)
        self.note(slice(layer - 1, layer), weights.detach().mean(0))
        parts = (weights[:, i, None, None] * states for i, states in enumerate(teachers))
        mixed = sum(parts, start=weights.new_zeros(()))
        return loss(student, mixed)

    def weights_of(self, student: Tensor, teachers: Sequence[Tensor], real: Tensor) -> Tensor:
        """Return w, (B, N). student, teachers: (B, L, D) with blank padding. real: (B, L)."""
        student_vectors, teacher_vectors = (
            self._pooled(student, real),
            torch.stack([self._pooled(states, real) for states in teachers], 1),
        )
        # autocast would run the products in half precision although the operands are float32
        with torch.autocast(student_vectors.device.type, enabled=False):
            return ((teacher_vectors @ student_vectors[..., None]).squeeze(-1) / self.temperature).softmax(1)

    def _pooled(self, states: Tensor, real: Tensor) -> Tensor:
        return states[:, 0] if self.pool == "cls" else token_mean(states, real)
