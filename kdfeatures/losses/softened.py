"""What the losses between class distributions share: both softened by one temperature."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses.base import Inputs, Outputs
from kdfeatures.losses.kernels.row_blocks import mean_over_rows
from kdfeatures.masking import full_precision

LOWEST, HIGHEST = 0.01, 10_000.0  # temperatures


def check_same_outputs(loss: nn.Module, student: Tensor, teacher: Tensor) -> None:
    """Raise UserError unless both are (B, C) of one shape."""
    if student.ndim != 2 or student.shape != teacher.shape:
        raise UserError(
            f"{type(loss).__name__} compares logits (batch, classes) of one shape, but the student gives "
            f"{tuple(student.shape)} and the teacher {tuple(teacher.shape)}; use models of equal num_labels."
        )


def same_outputs(loss: nn.Module, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in full precision; raises UserError unless both are (B, C) of one shape."""
    check_same_outputs(loss, student, teacher)
    return full_precision(student), full_precision(teacher)


def kl_rows(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) of every example, (B,), from log-probabilities (B, C)."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


class SoftenedLoss(nn.Module):
    """Base of the losses between class distributions softened by a temperature, softmax(logits / T).

    Of several teachers it takes the average of their distributions at T.

    Args:
        temperature: T from LOWEST to HIGHEST; the logits are divided by it.

    Raises:
        ConfigError: for any other T.
    """

    inputs: ClassVar[Inputs] = "logits"
    outputs: ClassVar[tuple[Outputs, ...]] = ("classes", "positions")
    reduction: ClassVar[str] = "sum over C, mean over B"
    positions: ClassVar[str] = "all texts"
    rowwise: ClassVar[bool] = True
    temperature_factor: ClassVar[str] = "T^2"  # what the divergence at temperature T is multiplied by

    @property
    def target_temperature(self) -> float:
        return self.temperature

    def __init__(self, *, temperature: float = 1.0) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise ConfigError(
                "must be a finite number above 0", argument="temperature", value=temperature, hint="1 is neutral"
            )
        if not LOWEST <= temperature <= HIGHEST:
            raise ConfigError(
                f"must be from {LOWEST:g} to {HIGHEST:g}",
                argument="temperature",
                value=temperature,
                hint="1 is neutral",
            )
        self.temperature = temperature

    def log_probabilities(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return log softmax(logits / T) of student and teacher, (B, C) each.

        Raises UserError for other shapes, and for C == 1.
        """
        self._check(student, teacher)
        return self._softened(student), self._softened(teacher)

    def _check(self, student: Tensor, teacher: Tensor) -> None:
        check_same_outputs(self, student, teacher)
        if student.shape[1] == 1:
            raise UserError(
                f"{type(self).__name__} compares class distributions, but the models have 1 output "
                "(regression); use LogitMSE."
            )

    def _softened(self, logits: Tensor) -> Tensor:
        return F.log_softmax(full_precision(logits) / self.temperature, dim=1)


class DivergenceLoss(SoftenedLoss):
    """Base of those that are a mean over examples of what `of_rows` says of each; wide batches are cut into blocks.

    Over a vocabulary nothing but the gradient of the student's logits is kept until backward.

    Args:
        temperature: T from LOWEST to HIGHEST; the logits are divided by it.

    Raises:
        ConfigError: for any other T.
    """

    def of_rows(self, log_s: Tensor, log_t: Tensor) -> Tensor:
        """Return how far the student is from the teacher for each example, (B,), from log-probabilities (B, C)."""
        raise NotImplementedError

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare the logits of a batch.

        Args:
            student: (B, C).
            teacher: (B, C).

        Returns:
            A scalar.

        Raises:
            UserError: for other shapes, and for C == 1.
        """
        self._check(student, teacher)
        mean = mean_over_rows(self._mean, student, teacher)
        return self.temperature**2 * mean if self.temperature_factor == "T^2" else mean

    def _mean(self, student: Tensor, teacher: Tensor) -> Tensor:
        return self.of_rows(self._softened(student), self._softened(teacher)).mean()
