"""How alike the texts of a batch are, by the cosines of their vectors."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdfeatures.losses.rkd import RelationalLoss
from kdfeatures.masking import masked_mean


class BatchSimilarity(RelationalLoss):
    """Mean over pairs i != j of (cos(x_i, x_j) - cos(x_i', x_j'))^2, student against teacher.

    What an embedding is used for: neighbours stay neighbours, whatever the widths. The similarity-preserving loss
    (arXiv:1907.09682) compares rows of inner products instead, each divided by its length, and its diagonal as well.

    Args:
        pool: what x is: "cls", position 0; "mean", the mean of the real tokens.

    Raises:
        ConfigError: for another pool.

    Example:
        >>> import torch
        >>> alike, apart = torch.tensor([[[1.0, 0.0]], [[2.0, 0.0]]]), torch.eye(2)[:, None]
        >>> BatchSimilarity()(alike, apart).item()  # (1 - 0)^2
        1.0
    """

    reduction = "mean over B (B - 1) pairs of texts"

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the examples of a batch.

        Args:
            student: (B, L, D_s).
            teacher: (B, L, D_t).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar, 0 for a batch of one.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, valid = self.vectors(student, teacher, mask)
        pairs = valid[:, None] & valid & ~torch.eye(len(valid), dtype=torch.bool, device=valid.device)
        return masked_mean((_cosines(student) - _cosines(teacher)).square(), pairs)


def _cosines(x: Tensor) -> Tensor:
    """The cosine of every two of x, (B, B)."""
    directions = F.normalize(x, dim=-1)
    with torch.autocast(x.device.type, enabled=False):
        return directions @ directions.mT
