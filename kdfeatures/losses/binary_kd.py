"""Distillation of labels each of which may be true: a Bernoulli distribution for every output."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from kdfeatures.losses.base import Outputs
from kdfeatures.losses.softened import SoftenedLoss, same_outputs


class BinaryKD(SoftenedLoss):
    """T^2 * KL(Bernoulli(sigmoid(t/T)) || Bernoulli(sigmoid(s/T))), averaged over labels and examples.

    LogitKD for each output on its own, as in L2D's multi-label logits distillation (arXiv:2308.06453), which divides by
    the examples alone. Binary cross-entropy with labels (HardLabel) averages over the labels as well, so that the
    weights of both mean the same for any C. For C == 1 it distils a cross-encoder.
    Of several teachers it takes the average of their probabilities at T.

    Args:
        temperature: T > 0; the logits are divided by it.

    Raises:
        ConfigError: for any other T.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0]]), torch.tensor([[3.0]]).log()
        >>> round(BinaryKD(temperature=1.0)(student, teacher).item(), 4)  # KL((3/4, 1/4) || (1/2, 1/2))
        0.1308
    """

    outputs: ClassVar[tuple[Outputs, ...]] = ("labels",)
    independent: ClassVar[bool] = True
    reduction: ClassVar[str] = "mean over C, B"

    def __init__(self, *, temperature: float = 2.0) -> None:
        super().__init__(temperature=temperature)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare the logits of a batch.

        Args:
            student: (B, C).
            teacher: (B, C).

        Returns:
            A scalar.

        Raises:
            UserError: for other shapes.
        """
        student, teacher = (logits / self.temperature for logits in same_outputs(self, student, teacher))
        probability = teacher.sigmoid()
        # p (log p - log q) + (1 - p) (log(1 - p) - log(1 - q)), of which every logarithm is finite
        yes = probability * (F.logsigmoid(teacher) - F.logsigmoid(student))
        no = (1 - probability) * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
        return self.temperature**2 * (yes + no).mean()
