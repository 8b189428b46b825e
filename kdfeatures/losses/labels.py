"""Losses between the student's output and the labels of the data: classes, scores, masked tokens."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses.base import Inputs
from kdfeatures.masking import full_precision

IGNORE_INDEX = -100  # the class id that torch and transformers ignore


class HardLabel(nn.Module):
    """Cross-entropy with the true class, or squared error if C == 1, averaged over the batch.

    Unlabelled examples (class -100; NaN for regression) count as 0, so that a transfer pool without labels can be
    mixed in. Unlike PseudoLabel it never asks the teacher.
    The sum over labelled examples is divided by all examples: every label then weighs the same, whatever batch it is
    in. Divided by the labelled ones alone, a single label among 63 unlabelled examples would weigh as much as 64.

    Example:
        >>> import torch
        >>> logits, labels = torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([1, -100])
        >>> round(HardLabel()(logits, labels).item(), 4)  # ln 2 / 2
        0.3466
    """

    inputs: ClassVar[Inputs] = "labels"
    reduction: ClassVar[str] = "mean over B, a text without label as 0"
    positions: ClassVar[str] = "texts with a label"

    def forward(self, student: Tensor, labels: Tensor) -> Tensor:
        """Compare the student's output with the labels.

        An id outside 0..C-1 other than -100 fails in torch: checking it here would wait for the device at every step.

        Args:
            student: (B, C).
            labels: (B,), class ids, or floats when C == 1.

        Returns:
            A scalar.

        Raises:
            UserError: for other shapes and for float labels with classes.
        """
        if student.ndim != 2 or labels.shape != student.shape[:1]:
            raise UserError(
                "HardLabel needs logits (batch, classes) and one label an example, but the logits are "
                f"{tuple(student.shape)} and the labels {tuple(labels.shape)}."
            )
        student = full_precision(student)
        if student.shape[1] == 1:
            labelled = ~labels.isnan()
            targets = torch.where(labelled, labels, 0).to(student.dtype)
            return torch.where(labelled, (student[:, 0] - targets).square(), 0).mean()
        if labels.is_floating_point():
            raise UserError(
                f"HardLabel needs integer labels for {student.shape[1]} classes, but they are "
                f"{labels.dtype}; for regression build the models with num_labels=1."
            )
        return F.cross_entropy(student, labels, ignore_index=IGNORE_INDEX, reduction="none").mean()


class MaskedLanguageModel(nn.Module):
    """Cross-entropy with the token that was masked, averaged over the masked tokens (BERT, arXiv:1810.04805).

    Unlike HardLabel it divides by the labelled rows alone: here the others are tokens that nobody asked for, not
    examples whose label is unknown. Without any masked token it is a differentiable 0.

    Example:
        >>> import torch
        >>> logits, labels = torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([1, -100])
        >>> round(MaskedLanguageModel()(logits, labels).item(), 4)  # ln 2
        0.6931
    """

    inputs: ClassVar[Inputs] = "labels"
    reduction: ClassVar[str] = "mean over the masked tokens of the batch"
    positions: ClassVar[str] = "tokens that were masked"

    def forward(self, student: Tensor, labels: Tensor) -> Tensor:
        """Compare the student's output with the tokens that were masked.

        Args:
            student: (rows, C) logits over the vocabulary.
            labels: (rows,), token ids, -100 where nothing was masked.

        Returns:
            A scalar.

        Raises:
            ConfigError: for other shapes and for float labels.
        """
        if student.ndim != 2 or labels.shape != student.shape[:1] or labels.is_floating_point():
            raise ConfigError(
                "MaskedLanguageModel needs logits (tokens, vocabulary) and one token id for each, but the logits are "
                f"{tuple(student.shape)} and the labels {tuple(labels.shape)} of {labels.dtype}",
                hint="use a task on text, whose labels are tokens",
                key="loss.masked_tokens",
                logits=tuple(student.shape),
                labels=tuple(labels.shape),
                dtype=labels.dtype,
            )
        total = F.cross_entropy(full_precision(student), labels, ignore_index=IGNORE_INDEX, reduction="sum")
        return total / (labels != IGNORE_INDEX).sum().clamp(min=1)
