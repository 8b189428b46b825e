"""The distance between two sets of hidden states after the best rotation of one onto the other."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdfeatures.losses.hidden import HiddenLoss
from kdfeatures.masking import centred_tokens


class ProcrustesDistance(HiddenLoss):
    """min over rotations Q of || S Q - T ||^2 = 2 - 2 || T'S ||_*, S and T centred and of size 1 (arXiv:2108.01661).

    S (n, D_s) and T (n, D_t) hold all real tokens of the batch, every column less its mean, divided by their Frobenius
    norms; || ||_* is the nuclear norm, the sum of singular values. Between 0 and 2; 0 where one is a rotation and a
    scale of the other, so that widths may differ and nothing is projected. Unlike LinearCKA, which weighs each
    direction by the square of its variance and so sees the largest few alone, it is a metric in which small directions
    count; as a loss for distillation: arXiv:2509.25253. Like LinearCKA it compares tokens across sequences, and a batch
    is not the mean of its examples. It takes an SVD of (D_s, D_t) a pair of layers and batch.

    Example:
        >>> import torch
        >>> student = torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]]])
        >>> rotated = 3 * student @ torch.tensor([[0.0, 1.0], [-1.0, 0.0]]) + 7
        >>> round(ProcrustesDistance()(student, rotated).item(), 4)
        0.0
        >>> ProcrustesDistance()(student, torch.zeros(1, 4, 5)).item()
        2.0
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
            A scalar; 0 for fewer than two tokens.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, real = self.real_states(student, teacher, mask)
        s, t = centred_tokens(student, real), centred_tokens(teacher, real)
        # autocast would run the matmul in half precision although the operands are float32
        with torch.autocast(s.device.type, enabled=False):
            aligned = torch.linalg.svdvals(t.mT @ s).sum()
        size = torch.linalg.matrix_norm(s) * torch.linalg.matrix_norm(t)
        distance = 2 - 2 * aligned / torch.where(size > 0, size, 1)
        return torch.where(real.sum() > 1, distance, 0 * distance)
