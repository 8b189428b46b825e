"""Where hidden states are large: attention transfer by energy maps."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from kdfeatures.losses.hidden import HiddenLoss
from kdfeatures.masking import sequence_mean


class EnergyMap(HiddenLoss):
    """|| e_s / |e_s| - e_t / |e_t| ||^2 with e_i = |h_i|^2 of the real tokens i, AT (arXiv:1612.03928).

    A sequence's map e (n,) has unit length, so that the loss is 2 - 2 cos(e_s, e_t), between 0 and 2 whatever n.
    The paper's equation takes the norm, which has no gradient at student = teacher; its code takes the mean over
    positions, n times smaller. Widths may differ. Unlike the attention losses it sees no query and no key: only
    which tokens have large hidden states. Unlike TokenGramMSE it compares the tokens' norms alone.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[[0.0, 0.0], [3.0, 4.0]]])
        >>> EnergyMap()(student, teacher).item()  # no common token
        2.0
    """

    reduction = "sum over L, mean over B"
    needs_projection: ClassVar[bool] = False

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the maps of a batch.

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
        energy_s, energy_t = (F.normalize(states.square().sum(-1), dim=-1) for states in (student, teacher))
        return sequence_mean((energy_s - energy_t).square().sum(-1), real.any(-1))
