"""Loss of masked language modelling."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from kdfeatures.errors import UserError
from kdfeatures.losses.labels import UNLABELLED
from kdfeatures.masking import full_precision


class MaskedLanguageModel(nn.Module):
    """Cross-entropy with the token that was masked, averaged over the masked tokens (BERT, arXiv:1810.04805).

    Unlike HardLabel it divides by the labelled rows alone: here the others are tokens that nobody asked for, not
    examples whose label is unknown. Without any masked token it is a differentiable 0.
    """

    takes: ClassVar[str] = "labels"
    reduces: ClassVar[str] = "mean over the masked tokens of the batch"
    counts: ClassVar[str] = "tokens that were masked"

    def forward(self, student: Tensor, labels: Tensor) -> Tensor:
        """student: (rows, C) logits over the vocabulary. labels: (rows,), token ids, -100 where nothing was masked.

        Returns a scalar. Raises UserError for other shapes and for float labels.
        """
        if student.ndim != 2 or labels.shape != student.shape[:1] or labels.is_floating_point():
            raise UserError(
                "MaskedLanguageModel needs logits (tokens, vocabulary) and one token id for each, but the logits are "
                f"{tuple(student.shape)} and the labels {tuple(labels.shape)} of {labels.dtype}; use task=text."
            )
        total = F.cross_entropy(full_precision(student), labels, ignore_index=UNLABELLED, reduction="sum")
        return total / (labels != UNLABELLED).sum().clamp(min=1)
