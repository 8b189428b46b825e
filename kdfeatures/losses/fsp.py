"""How hidden states change from one layer to another: the flow of solution procedure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from kdfeatures.losses.base import Inputs
from kdfeatures.losses.hidden import HiddenLoss
from kdfeatures.masking import sequence_mean


class FlowMSE(HiddenLoss):
    """Mean over the D x D entries of (S1' S2 / n - T1' T2 / n)^2, FSP (Yim et al., CVPR 2017) as TextBrewer has it.

    S1, S2 and T1, T2 are the states of two consecutive mapped pairs of layers, n the real tokens of a sequence; the
    paper has image positions for tokens. Widths must agree after projection. With one layer given twice it is
    FeatureGramMSE, and like that it computes the smaller of (D, D) and (L, L) products.

    Example:
        >>> import torch
        >>> ones = torch.ones(1, 2, 3)  # 3 x 3 entries, 3 for the student and 1 for the teacher
        >>> FlowMSE()((ones, 3 * ones), (ones, ones)).item()
        4.0
    """

    inputs: ClassVar[Inputs] = "flow"
    reduction = "mean over D x D, then B"

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Compare the step from one mapped pair of layers to the next.

        Args:
            student: two (B, L, D), of the first and of the second pair.
            teacher: two (B, L, D), likewise.
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        s1, t1, real = self.real_states(student[0], teacher[0], mask)
        s2, t2, _ = self.real_states(student[1], teacher[1], mask)
        # autocast would run the matmuls in half precision although the operands are float32
        with torch.autocast(s1.device.type, enabled=False):
            if s1.shape[-1] <= s1.shape[-2]:
                sums = (s1.mT @ s2 - t1.mT @ t2).square().sum((-2, -1))
            else:
                sums = _inner(s1, s1, s2, s2) + _inner(t1, t1, t2, t2) - 2 * _inner(s1, t1, s2, t2)
        size = real.sum(-1).clamp(min=1) ** 2 * s1.shape[-1] ** 2
        return sequence_mean(sums / size, real.any(-1))


def _inner(a1: Tensor, b1: Tensor, a2: Tensor, b2: Tensor) -> Tensor:
    """<a1' a2, b1' b2> of the (D, D) products, through the (L, L) ones."""
    return ((a1 @ b1.mT) * (a2 @ b2.mT)).sum((-2, -1))
