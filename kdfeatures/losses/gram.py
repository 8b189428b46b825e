"""Losses between Gram matrices of hidden states: over tokens (NST), and over features.

A squared distance of two Gram matrices is a sum of three squared norms, each of which has two forms, over rows or over
columns: the smaller is computed, so that no (L, L) matrix is held when L > D and no (D, D) matrix when D >= L.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from kdfeatures.losses.hidden import HiddenLoss
from kdfeatures.masking import sequence_mean


def gram_distance(a: Tensor, b: Tensor) -> Tensor:
    """Return || a a' - b b' ||_F^2 over the last two axes.

    For n > d_a, d_b as || a'a ||^2 + || b'b ||^2 - 2 || a'b ||^2, whose rounding error is relative to these norms:
    it may be a little below 0 where a = b. Its gradient there is as exact as that of the other form.

    Args:
        a: (..., n, d_a).
        b: (..., n, d_b).

    Example:
        >>> import torch
        >>> gram_distance(torch.eye(2), torch.zeros(2, 1)).item()
        2.0
    """
    # autocast would run the matmuls in half precision although the operands are float32
    with torch.autocast(a.device.type, enabled=False):
        if a.shape[-2] <= max(a.shape[-1], b.shape[-1]):
            return (a @ a.mT - b @ b.mT).square().sum((-2, -1))
        within_a, within_b, across = (x.square().sum((-2, -1)) for x in (a.mT @ a, b.mT @ b, a.mT @ b))
    return within_a + within_b - 2 * across


class TokenGramMSE(HiddenLoss):
    """Mean over real token pairs of (S S' / D_s - T T' / D_t)^2, NST as TextBrewer has it (`nst`, `mmd_loss`).

    It is NST's squared MMD with the polynomial kernel (x'y)^2 (arXiv:1707.01219), divided by n^2 and without the
    unit length that the paper gives each feature first. Widths may differ. Unlike FeatureGramMSE it compares
    how tokens relate to each other; unlike RelationKL it has no softmax, so that it also matches the size of h.
    Given a mask, TextBrewer 0.2.1 divides by the padded length instead of the width.

    Example:
        >>> import torch
        >>> student, teacher = 2 * torch.ones(1, 3, 4), torch.ones(1, 3, 5)  # products / width: 4, and 1
        >>> TokenGramMSE()(student, teacher).item()
        9.0
    """

    reduction = "mean over L x L, then B"
    positions = "pairs of real tokens"
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
        sums = gram_distance(student * student.shape[-1] ** -0.5, teacher * teacher.shape[-1] ** -0.5)
        return sequence_mean(sums / real.sum(-1).clamp(min=1) ** 2, real.any(-1))


class FeatureGramMSE(HiddenLoss):
    """Mean over the D x D entries of (S'S / n - T'T / n)^2, n the real tokens: a layer's Gram matrix.

    The style loss of Gatys et al. (arXiv:1508.06576), and FlowMSE (FSP) of a layer to itself. Compares features after
    projection, so widths must agree by then. Unlike TokenGramMSE it forgets which token is which; unlike HiddenMSE it
    does not ask for equal states.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[1.0], [3.0]]]), torch.tensor([[[1.0], [-1.0]]])
        >>> FeatureGramMSE()(student, teacher).item()  # ((1 + 9) / 2 - (1 + 1) / 2)^2
        16.0
    """

    reduction = "mean over D x D, then B"

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the hidden states of a batch.

        Args:
            student: (B, L, D).
            teacher: (B, L, D).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, real = self.real_states(student, teacher, mask)
        size = real.sum(-1).clamp(min=1) ** 2 * student.shape[-1] ** 2
        return sequence_mean(gram_distance(student.mT, teacher.mT) / size, real.any(-1))
