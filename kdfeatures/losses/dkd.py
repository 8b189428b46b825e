"""Hinton's KL taken apart by the label: how sure of the true class, and how the other classes compare."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses.base import Inputs
from kdfeatures.losses.labels import IGNORE_INDEX
from kdfeatures.losses.softened import SoftenedLoss, kl_rows


class DecoupledKD(SoftenedLoss):
    """T^2 * (v KL(b_t || b_s) + w KL(q_t || q_s)), DKD (arXiv:2203.08679), T^2 as in its code.

    b = (p_y, 1 - p_y), the softened probability of the true class y against all others (TCKD); q, the softmax over the
    other classes alone (NCKD). LogitKD is v = 1 and w = 1 - p_t(y), small where the teacher is sure of y; DKD sets w
    free.

    With two classes q has one entry, so that the second term is 0 and the first is v * LogitKD.
    Averaged over all examples, of which those without a label (-100) count as 0, as for HardLabel.

    Args:
        temperature: T > 0; the logits are divided by it.
        target_weight: v, finite and not negative.
        other_weight: w, finite and not negative.

    Raises:
        ConfigError: for other weights, and for a bad temperature.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0, 1.0]]).log(), torch.tensor([[1.0, 3.0]]).log()
        >>> loss = DecoupledKD(temperature=1.0, target_weight=2.0)
        >>> round(loss(student, teacher, torch.tensor([1])).item(), 4)  # two classes: 2 KL((1/4, 3/4) || (1/2, 1/2))
        0.2616
    """

    inputs: ClassVar[Inputs] = "logits, labels"
    reduction = "sum over C, mean over B, a text without label as 0"
    positions = "texts with a label"

    def __init__(self, *, temperature: float = 4.0, target_weight: float = 1.0, other_weight: float = 8.0) -> None:
        super().__init__(temperature=temperature)
        for argument, value in {"target_weight": target_weight, "other_weight": other_weight}.items():
            if not 0 <= value < math.inf:
                raise ConfigError("must be a finite number that is not negative", argument=argument, value=value)
        self.target_weight = target_weight
        self.other_weight = other_weight

    def forward(self, student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
        """Compare the logits of a batch.

        Args:
            student: (B, C).
            teacher: (B, C).
            labels: (B,), class ids, -100 for none.

        Returns:
            A scalar.

        Raises:
            UserError: for other shapes, for float labels and for C == 1.
        """
        log_s, log_t = self.log_probabilities(student, teacher)
        if labels.shape != log_s.shape[:1] or labels.is_floating_point():
            raise UserError(
                f"DecoupledKD needs one class id an example, but the logits are {tuple(log_s.shape)} and the labels "
                f"{tuple(labels.shape)} of {labels.dtype}."
            )
        labelled = labels != IGNORE_INDEX
        classes = torch.where(labelled, labels, 0)[:, None]
        true = torch.zeros_like(log_s, dtype=torch.bool).scatter(1, classes, True)  # fails for an id outside 0..C-1
        (binary_s, rest_s), (binary_t, rest_t) = _split(log_s, true), _split(log_t, true)
        values = self.target_weight * kl_rows(binary_t, binary_s) + self.other_weight * kl_rows(rest_t, rest_s)
        return self.temperature**2 * torch.where(labelled, values, 0).mean()


def _split(log_p: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Return the logarithms of b, (B, 2), and of q, (B, C) with no probability at the true class."""
    # the lowest number, not -inf: 0 * (-inf + inf) would be NaN
    rest = log_p.masked_fill(true, torch.finfo(log_p.dtype).min)
    binary = torch.stack([torch.where(true, log_p, 0).sum(1), rest.logsumexp(1)], dim=1)
    return binary, F.log_softmax(rest, dim=1)
