"""Losses between the outputs of student and teacher, (B, C) each."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from kdfeatures.errors import UserError
from kdfeatures.masking import full_precision


def _same_outputs(loss: nn.Module, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in full precision; raises UserError unless both are (B, C) of one shape."""
    if student.ndim != 2 or student.shape != teacher.shape:
        raise UserError(
            f"{type(loss).__name__} compares logits (batch, classes) of one shape, but the student gives "
            f"{tuple(student.shape)} and the teacher {tuple(teacher.shape)}; use models of equal num_labels."
        )
    return full_precision(student), full_precision(teacher)


def kl_rows(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return KL(p || q) of every example, (B,), from log-probabilities (B, C)."""
    return F.kl_div(log_q, log_p, reduction="none", log_target=True).sum(1)


class SoftenedLoss(nn.Module):
    """Base of the losses between class distributions softened by a temperature.

    temperature: T > 0; the logits are divided by it. Raises UserError for any other T, and for C == 1.
    Of several teachers it takes the average of their distributions at T.
    """

    inputs: ClassVar[str] = "logits"
    reduction: ClassVar[str] = "sum over C, mean over B"
    positions: ClassVar[str] = "all texts"
    temperature_factor: ClassVar[str] = "T^2"  # what the divergence at temperature T is multiplied by

    @property
    def target_temperature(self) -> float:
        return self.temperature

    def __init__(self, *, temperature: float) -> None:
        super().__init__()
        if not 0 < temperature < math.inf:
            raise UserError(f"{type(self).__name__} needs a temperature > 0, but got {temperature}; 1 is neutral.")
        self.temperature = temperature

    def log_probabilities(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        """Return log softmax(logits / T) of student and teacher, (B, C) each."""
        student, teacher = _same_outputs(self, student, teacher)
        if student.shape[1] == 1:
            raise UserError(
                f"{type(self).__name__} compares class distributions, but the models have 1 output "
                "(regression); use LogitMSE."
            )
        log_s, log_t = (F.log_softmax(logits / self.temperature, dim=1) for logits in (student, teacher))
        return log_s, log_t


class LogitKD(SoftenedLoss):
    """Hinton's distillation: T^2 * KL(softmax(t/T) || softmax(s/T)) (arXiv:1503.02531).

    Summed over classes, averaged over examples. T^2 keeps the size of the gradient when T changes. Unlike
    SoftCrossEntropy it is 0 at student = teacher. The official PKD and TinyBERT code averages over the
    classes too.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: (B, C) logits. Returns a scalar."""
        log_s, log_t = self.log_probabilities(student, teacher)
        return self.temperature**2 * kl_rows(log_t, log_s).mean()


class SoftCrossEntropy(SoftenedLoss):
    """Cross-entropy -sum_c softmax(t/T)_c log softmax(s/T)_c, TinyBERT's prediction loss (arXiv:1909.10351).

    Summed over classes, averaged over examples. Equals LogitKD / T^2 plus the teacher's entropy: that is its
    minimum, at student = teacher, and a constant for the student. Without T^2 the gradient shrinks as 1/T^2
    when T grows. TinyBERT's official code averages over the classes too, which divides it by C.
    """

    temperature_factor = "1"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: (B, C) logits. Returns a scalar."""
        log_s, log_t = self.log_probabilities(student, teacher)
        return -(log_t.exp() * log_s).sum(1).mean()


class LogitMSE(nn.Module):
    """Mean squared difference of the raw outputs, over examples and outputs.

    For regression (STS-B, C == 1) this is the distillation loss. With classes it is the large-T limit of
    LogitKD for centred logits, up to a factor 1/2: unlike LogitKD it also counts a constant added to all
    logits of an example. A temperature would cancel against T^2 (TextBrewer, without T^2, divides this by it).
    Of several teachers it takes the average of their outputs: up to a constant that is the average of its values for
    each of them.
    """

    inputs: ClassVar[str] = "logits"
    target_temperature: ClassVar[None] = None
    reduction: ClassVar[str] = "mean over C, B"
    positions: ClassVar[str] = "all texts"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: (B, C). Returns a scalar."""
        student, teacher = _same_outputs(self, student, teacher)
        return (student - teacher).square().mean()


class PseudoLabel(nn.Module):
    """Cross-entropy with the class the teacher ranks first; with one output (C == 1), LogitMSE.

    A control for LogitKD: it needs no labels either, but sees only the teacher's decision, not its
    probabilities. Unlike HardLabel it ignores the labels of the data. Several teachers rank by the average of their
    distributions at T = 1.
    """

    inputs: ClassVar[str] = "logits"
    target_temperature: ClassVar[float] = 1.0
    reduction: ClassVar[str] = "mean over B"
    positions: ClassVar[str] = "all texts"

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: (B, C) logits. Returns a scalar."""
        student, teacher = _same_outputs(self, student, teacher)
        if student.shape[1] == 1:
            return (student - teacher).square().mean()
        return F.cross_entropy(student, teacher.argmax(1))
