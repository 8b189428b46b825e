"""Centred kernel alignment between the hidden states of a batch."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdfeatures.losses.hidden import HiddenLoss
from kdfeatures.masking import centred_tokens


class LinearCKA(HiddenLoss):
    """1 - CKA, CKA = ||T'S||^2 / (||S'S|| ||T'T||) over the real tokens of the batch (arXiv:1905.00414).

    S (n, D_s) and T (n, D_t) hold all real tokens of the batch, every column less its mean; norms are Frobenius.
    Between 0 and 1; 0 where one is a rotation and a scale of the other, so that widths may differ and nothing is
    projected: unlike HiddenMSE it leaves the student its own basis. Unlike the other hidden losses it compares tokens
    across sequences, each with the same weight, and a batch is not the mean of its examples.
    Computed by (D, D) matrices, or by (n, n) ones where these are smaller. Fewer than two tokens give 0; so many
    that n > D are needed for the value to mean much (few tokens in many dimensions are always aligned).

    Example:
        >>> import torch
        >>> student = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]])
        >>> rotated = 3 * student @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]) + 7
        >>> LinearCKA()(student, rotated).item(), LinearCKA()(student, torch.zeros(1, 4, 5)).item()
        (0.0, 1.0)
    """

    reduction = "one value for all tokens of the batch"
    needs_projection: ClassVar[bool] = False

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the hidden states of a batch.

        Args:
            student: (B, L, D_s).
            teacher: (B, L, D_t).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, real = self.real_states(student, teacher, mask)
        s, t = centred_tokens(student, real), centred_tokens(teacher, real)
        # autocast would run the matmuls in half precision although the operands are float32
        with torch.autocast(s.device.type, enabled=False):
            if len(s) > max(s.shape[1], t.shape[1]):
                aligned, size_s, size_t = (t.mT @ s).square().sum(), _norm(s.mT @ s), _norm(t.mT @ t)
            else:
                kernel_s, kernel_t = s @ s.mT, t @ t.mT
                aligned, size_s, size_t = (kernel_s * kernel_t).sum(), _norm(kernel_s), _norm(kernel_t)
        size = size_s * size_t
        similarity = aligned / torch.where(size > 0, size, 1)
        return torch.where(real.sum() > 1, 1 - similarity, 0 * similarity)


def _norm(matrix: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.matrix_norm(matrix)
    return norm
