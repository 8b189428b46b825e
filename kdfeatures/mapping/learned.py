"""Weights over teacher layers that are trained with the student."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from kdfeatures.errors import ConfigError
from kdfeatures.mapping.dynamic import DynamicLayerMap


class LearnedMap(DynamicLayerMap):
    """sum_i w_mi L_mi with w_m = softmax(a_m) over all teacher layers i, a trained with the student.

    L_mi is the term's loss for the pair (m, i). All weights begin as 1 / N. learning_rate: of a, which moves by about
    that much in a step of Adam: the student's own rate would hardly move it. Rows move towards the layers of least
    loss, the easiest and not by that the most instructive ones; watch the entropy. Unlike EmdMap, nothing keeps
    all student layers from choosing the same teacher layer.
    """

    rule = "learned"
    supports: ClassVar = ("hidden", "attention")
    summary = "all teacher layers, by learned weights"
    granularity = "student layer"

    def __init__(
        self, student_layers: int, teacher_layers: int, *, learning_rate: float = 0.01, embeddings: bool = True
    ) -> None:
        if not 0 < learning_rate < math.inf:
            raise ConfigError("must be a finite number above 0", argument="learning_rate", value=learning_rate)
        super().__init__(student_layers, teacher_layers, embeddings=embeddings)
        self.learning_rate = learning_rate
        self.logits = nn.Parameter(torch.zeros(student_layers, teacher_layers))

    def compare(
        self, layer: int, student: Any, teachers: Sequence[Any], loss: Callable[[Any, Any], Tensor], mask: Tensor | None
    ) -> Tensor:
        values = torch.stack([loss(student, teacher) for teacher in teachers])
        return (self.logits[layer - 1].softmax(0) * values).sum()

    def weights(self) -> Tensor:
        return self.logits.detach().softmax(1)
