"""Losses between the student's output and the labels of the data: classes, scores, masked tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses.base import Inputs, Outputs
from kdfeatures.masking import full_precision

BALANCED = "balanced"
IGNORE_INDEX = -100  # the class id that torch and transformers ignore


class HardLabel(nn.Module):
    """Cross-entropy with the true class, or squared error if C == 1, averaged over the batch.

    With a label for each output, (B, C), it is binary cross-entropy, averaged over the outputs as well.
    Unlabelled examples (class -100; NaN for regression and for each output) count as 0, so that a transfer pool
    without labels can be mixed in. Unlike PseudoLabel it never asks the teacher.
    The sum over labelled examples is divided by all examples: every label then weighs the same, whatever batch it is
    in. Divided by the labelled ones alone, a single label among 63 unlabelled examples would weigh as much as 64.

    Args:
        class_weights: what each example's loss is multiplied by, by its class: C numbers, or "balanced", for which
            `balance` is given the training labels first: n / (C n_c), as scikit-learn has it, 1 on average. None
            weighs all alike. The mean stays one over examples, where torch's weighted one divides by the weights.
            With a label for each output they multiply the loss of those that are true, torch's pos_weight; "balanced"
            is (n - n_c) / n_c.

    Example:
        >>> import torch
        >>> logits, labels = torch.tensor([[0.0, 0.0], [9.0, 0.0]]), torch.tensor([1, -100])
        >>> round(HardLabel()(logits, labels).item(), 4)  # ln 2 / 2
        0.3466
    """

    inputs: ClassVar[Inputs] = "labels"
    outputs: ClassVar[tuple[Outputs, ...]] = ("classes", "score", "labels", "positions")
    reduction: ClassVar[str] = "mean over B, a text without label as 0"
    positions: ClassVar[str] = "texts with a label"

    def __init__(self, *, class_weights: Sequence[float] | Literal["balanced"] | None = None) -> None:
        super().__init__()
        if isinstance(class_weights, str) and class_weights != BALANCED:
            raise ConfigError(
                "is neither numbers nor 'balanced'", argument="class_weights", value=class_weights, section="loss"
            )
        given = None if class_weights is None or isinstance(class_weights, str) else [float(w) for w in class_weights]
        if given is not None and not all(math.isfinite(weight) and weight >= 0 for weight in given):
            raise ConfigError("must be 0 or more", argument="class_weights", value=given, hint="give one a class")
        self.class_weights = class_weights
        self._weights: Tensor | None
        self.register_buffer("_weights", None if given is None else torch.tensor(given), persistent=False)

    def balance(self, counts: Sequence[int], examples: int | None = None) -> None:
        """Set the weights of class_weights="balanced". counts: labelled training examples of each class.

        examples: how many there are in all, where each may have several of the classes.

        Raises ConfigError for a class without any.
        """
        if 0 in counts:
            raise ConfigError(
                f"needs labelled examples of every class, but class {list(counts).index(0)} has none",
                argument="class_weights",
                value=BALANCED,
                hint="give the weights as a list",
            )
        device = None if self._weights is None else self._weights.device
        if examples is None:
            total = sum(counts)
            weights = [total / (len(counts) * count) for count in counts]
        else:
            weights = [(examples - count) / count for count in counts]
        self._weights = torch.tensor(weights, device=device)

    def forward(self, student: Tensor, labels: Tensor) -> Tensor:
        """Compare the student's output with the labels.

        An id outside 0..C-1 other than -100 fails in torch: checking it here would wait for the device at every step.

        Args:
            student: (B, C).
            labels: (B,), class ids, or floats when C == 1; (B, C), floats between 0 and 1, for a label each.

        Returns:
            A scalar.

        Raises:
            UserError: for other shapes and for float labels with classes.
        """
        if student.ndim == 2 and labels.shape == student.shape and labels.is_floating_point():
            return self._of_each(full_precision(student), labels)
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
        losses = F.cross_entropy(student, labels, ignore_index=IGNORE_INDEX, reduction="none")
        if self.class_weights is None:
            return losses.mean()
        return (losses * self._known_weights(student)[labels.clamp_min(0)]).mean()

    def _of_each(self, student: Tensor, labels: Tensor) -> Tensor:
        known = ~labels.isnan()
        weights = None if self.class_weights is None else self._known_weights(student)
        targets = torch.where(known, labels, 0).to(student.dtype)
        losses = F.binary_cross_entropy_with_logits(student, targets, pos_weight=weights, reduction="none")
        return torch.where(known, losses, 0).mean()

    def _known_weights(self, student: Tensor) -> Tensor:
        if self._weights is None:
            raise ConfigError(
                "was not given the training labels",
                argument="class_weights",
                value=BALANCED,
                hint="call balance(counts)",
            )
        if len(self._weights) != student.shape[1]:
            raise ConfigError(
                f"has {len(self._weights)} weights, but there are {student.shape[1]} classes",
                argument="class_weights",
                value=self.class_weights,
                hint="give one a class",
            )
        return self._weights.to(student)


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
    rowwise: ClassVar[bool] = True

    def counted(self, labels: Tensor) -> Tensor:
        """Return which rows the mean is over, boolean (rows,)."""
        return labels != IGNORE_INDEX

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
        return total / self.counted(labels).sum().clamp(min=1)
