"""Relational knowledge distillation: how the examples of a batch lie to each other, RKD (arXiv:1904.05068)."""

from __future__ import annotations

from typing import ClassVar, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from kdfeatures.errors import ConfigError, nearest
from kdfeatures.losses.hidden import HiddenLoss
from kdfeatures.masking import masked_mean, token_mean

Pool = Literal["cls", "mean"]
POOLS: tuple[Pool, ...] = get_args(Pool)


class RelationalLoss(HiddenLoss):
    """Base of the losses on one vector x an example.

    Widths may differ. Sequences without a real token (for "cls": whose position 0 is masked) are left out. The
    embeddings of [CLS] are the same for all texts: there, only "mean" has anything to compare.
    As with LinearCKA, and with no other loss, a batch's value is not the mean of its examples': more relate to more.

    Args:
        pool: what x is: "cls", position 0; "mean", the mean of the real tokens.

    Raises:
        ConfigError: for another pool.
    """

    needs_projection: ClassVar[bool] = False
    positions = "each text's [CLS], or mean of its real tokens"

    def __init__(self, *, pool: Pool = "mean") -> None:
        super().__init__()
        if pool not in POOLS:
            raise ConfigError(
                f"is unknown{nearest(pool, POOLS)}", argument="pool", value=pool, hint="choose cls or mean"
            )
        self.pool = pool

    def vectors(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return x of student (B, D_s) and teacher (B, D_t), and which examples count (B,)."""
        student, teacher, real = self.real_states(student, teacher, mask)
        if self.pool == "cls":
            return student[:, 0], teacher[:, 0], real[:, 0]
        return token_mean(student, real), token_mean(teacher, real), real.any(-1)


class RKDDistance(RelationalLoss):
    """Mean over pairs i != j of smooth_l1(|x_i - x_j| / mean distance), student against teacher.

    0 for a batch of one or two, whose only distance is its mean. The official code divides the sum by B^2 instead of
    B (B - 1), zeros on the diagonal included. Its weight is 25, beside 50 for RKDAngle.

    Args:
        pool: what x is: "cls", position 0; "mean", the mean of the real tokens.

    Raises:
        ConfigError: for another pool.

    Example:
        >>> import torch
        >>> line, triangle = torch.tensor([[[0.0]], [[1.0]], [[3.0]]]), torch.eye(3)[:, None]
        >>> RKDDistance()(10 * line, line).item()
        0.0
        >>> round(RKDDistance()(line, triangle).item(), 4)  # (0.5, 1, 1.5) against (1, 1, 1): 0.5^2 / 2 * 2 / 3
        0.0833
    """

    reduction = "mean over B (B - 1) pairs of texts"

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the examples of a batch.

        Args:
            student: (B, L, D_s).
            teacher: (B, L, D_t).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, valid = self.vectors(student, teacher, mask)
        pairs = valid[:, None] & valid & ~torch.eye(len(valid), dtype=torch.bool, device=valid.device)
        relative_s, relative_t = _distances(student, pairs), _distances(teacher, pairs)
        return masked_mean(F.smooth_l1_loss(relative_s, relative_t, reduction="none"), pairs)


class RKDAngle(RelationalLoss):
    """Mean over triples of smooth_l1(cos of the angle at x_j between x_i and x_k).

    i, j and k differ, so a batch of one or two gives 0. Unlike RKDDistance it costs B^3 numbers, and B^2 D for the
    directions. The official code divides the sum by B^3 instead of B (B - 1) (B - 2). Its weight is 50.

    Args:
        pool: what x is: "cls", position 0; "mean", the mean of the real tokens.

    Raises:
        ConfigError: for another pool.

    Example:
        >>> import torch
        >>> line, triangle = torch.tensor([[[0.0]], [[1.0]], [[3.0]]]), torch.eye(3)[:, None]
        >>> round(RKDAngle()(line, triangle).item(), 4)  # cosines (1, -1, 1) against (1/2, 1/2, 1/2)
        0.4167
    """

    reduction = "mean over B (B - 1) (B - 2) triples of texts"

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the examples of a batch.

        Args:
            student: (B, L, D_s).
            teacher: (B, L, D_t).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, valid = self.vectors(student, teacher, mask)
        differ = ~torch.eye(len(valid), dtype=torch.bool, device=valid.device)
        pairs = valid[:, None] & valid & differ
        triples = pairs[:, :, None] & pairs[:, None, :] & differ  # (j, i, k), the angle at j
        return masked_mean(F.smooth_l1_loss(_cosines(student), _cosines(teacher), reduction="none"), triples)


def _distances(x: Tensor, pairs: Tensor) -> Tensor:
    """|x_i - x_j|, (B, B), divided by their mean over `pairs`."""
    # the matmul form would cancel for near examples; the gradient of this one is 0 at distance 0
    distances = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    distances = torch.where(pairs, distances, 0)
    mean = masked_mean(distances, pairs)
    return distances / torch.where(mean > 0, mean, 1)


def _cosines(x: Tensor) -> Tensor:
    """Cosine of the angle at x_j between x_i and x_k, (j, i, k); 0 where one of them equals x_j."""
    differences = x - x[:, None]  # (j, i, D)
    lengths = torch.linalg.vector_norm(differences, dim=-1, keepdim=True)
    directions = differences / torch.where(lengths > 0, lengths, 1)
    with torch.autocast(x.device.type, enabled=False):
        return directions @ directions.mT
