"""Losses between the outputs of student and teacher, (B, C) each."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from kdfeatures.losses.base import Inputs, Outputs
from kdfeatures.losses.softened import DivergenceLoss, kl_rows, same_outputs


class LogitKD(DivergenceLoss):
    """Hinton's distillation: T^2 * KL(softmax(t/T) || softmax(s/T)) (arXiv:1503.02531).

    Summed over classes, averaged over examples. T^2 keeps the size of the gradient when T changes. Unlike
    SoftCrossEntropy it is 0 at student = teacher. The official PKD and TinyBERT code averages over the
    classes too.

    Args:
        temperature: T > 0; the logits are divided by it.

    Raises:
        ConfigError: for any other T.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0, 1.0]]).log(), torch.tensor([[1.0, 3.0]]).log()
        >>> round(LogitKD(temperature=1.0)(student, teacher).item(), 4)  # KL((1/4, 3/4) || (1/2, 1/2))
        0.1308
    """

    def __init__(self, *, temperature: float = 2.0) -> None:
        super().__init__(temperature=temperature)

    def of_rows(self, log_s: Tensor, log_t: Tensor) -> Tensor:
        return kl_rows(log_t, log_s)


class SoftCrossEntropy(DivergenceLoss):
    """Cross-entropy -sum_c softmax(t/T)_c log softmax(s/T)_c, TinyBERT's prediction loss (arXiv:1909.10351).

    Summed over classes, averaged over examples. Equals LogitKD / T^2 plus the teacher's entropy: that is its
    minimum, at student = teacher, and a constant for the student. Without T^2 the gradient shrinks as 1/T^2
    when T grows. TinyBERT's official code averages over the classes too, which divides it by C.

    Args:
        temperature: T > 0; the logits are divided by it.

    Raises:
        ConfigError: for any other T.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[-1.0, 5.0]])
        >>> round(SoftCrossEntropy()(student, teacher).item(), 4)  # ln 2, whatever the teacher says
        0.6931
    """

    temperature_factor = "1"

    def of_rows(self, log_s: Tensor, log_t: Tensor) -> Tensor:
        return -(log_t.exp() * log_s).sum(1)


class LogitMSE(nn.Module):
    """Mean squared difference of the raw outputs, over examples and outputs.

    For regression (STS-B, C == 1) this is the distillation loss. With classes it is the large-T limit of
    LogitKD for centred logits, up to a factor 1/2: unlike LogitKD it also counts a constant added to all
    logits of an example. A temperature would cancel against T^2 (TextBrewer, without T^2, divides this by it).
    Of several teachers it takes the average of their outputs: up to a constant that is the average of its values for
    each of them.

    Example:
        >>> import torch
        >>> LogitMSE()(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])).item()
        2.0
    """

    inputs: ClassVar[Inputs] = "logits"
    outputs: ClassVar[tuple[Outputs, ...]] = ("classes", "score", "labels", "vector")
    target_temperature: ClassVar[None] = None
    reduction: ClassVar[str] = "mean over C, B"
    positions: ClassVar[str] = "all texts"
    rowwise: ClassVar[bool] = True

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare the outputs for a batch.

        Args:
            student: (B, C).
            teacher: (B, C).

        Returns:
            A scalar.

        Raises:
            UserError: for other shapes.
        """
        student, teacher = same_outputs(self, student, teacher)
        return (student - teacher).square().mean()


class PseudoLabel(nn.Module):
    """Cross-entropy with the class the teacher ranks first; with one output (C == 1), LogitMSE.

    A control for LogitKD: it needs no labels either, but sees only the teacher's decision, not its
    probabilities. Unlike HardLabel it ignores the labels of the data. Several teachers rank by the average of their
    distributions at T = 1.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[0.0, 0.0]]), torch.tensor([[-1.0, 5.0]])
        >>> round(PseudoLabel()(student, teacher).item(), 4)  # ln 2
        0.6931
    """

    inputs: ClassVar[Inputs] = "logits"
    outputs: ClassVar[tuple[Outputs, ...]] = ("classes", "score", "positions")
    target_temperature: ClassVar[float] = 1.0
    reduction: ClassVar[str] = "mean over B"
    positions: ClassVar[str] = "all texts"
    rowwise: ClassVar[bool] = True

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare the student's logits with the teacher's decisions.

        Args:
            student: (B, C).
            teacher: (B, C).

        Returns:
            A scalar.

        Raises:
            UserError: for other shapes.
        """
        student, teacher = same_outputs(self, student, teacher)
        if student.shape[1] == 1:
            return (student - teacher).square().mean()
        return F.cross_entropy(student, teacher.argmax(1))
