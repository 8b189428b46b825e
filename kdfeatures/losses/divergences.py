"""Divergences between softened class distributions other than Hinton's KL(t || s).

p_s, p_t = softmax(logits / T). All are summed over classes, averaged over examples, 0 at student = teacher and
multiplied by T^2, which keeps the size of the gradient when T changes as in LogitKD. The papers below set T = 1, where
the factor is 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdfeatures.errors import UserError
from kdfeatures.losses.logits import SoftenedLoss, kl_rows


def _log_mixture(log_p: Tensor, log_q: Tensor, share: float) -> Tensor:
    """log(share * p + (1 - share) * q), without leaving log space."""
    return torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))


class ReverseKL(SoftenedLoss):
    """T^2 * KL(p_s || p_t), the direction of MiniLLM (arXiv:2306.08543).

    Unlike LogitKD it punishes probability where the teacher has none more than probability that is missing: the student
    picks one of the teacher's modes instead of covering all. Confident teachers make it large.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: (B, C) logits. Returns a scalar."""
        log_s, log_t = self.log_probabilities(student, teacher)
        return self.temperature**2 * kl_rows(log_s, log_t).mean()


class JensenShannon(SoftenedLoss):
    """T^2 * (l KL(p_s || m) + (1 - l) KL(p_t || m)) with m = l p_s + (1 - l) p_t, GKD (arXiv:2306.13649).

    student_share: l, between 0 and 1; GKD's beta is 1 - l. At 0.5 it is symmetric and at most T^2 ln 2. Divided by l
    it tends to ReverseKL for l -> 0, divided by 1 - l to LogitKD for l -> 1; unlike both it is bounded.
    """

    def __init__(self, *, temperature: float, student_share: float) -> None:
        """Raises UserError unless 0 < student_share < 1, where it would always be 0, and for a bad temperature."""
        super().__init__(temperature=temperature)
        if not 0 < student_share < 1:
            raise UserError(
                f"JensenShannon needs 0 < student_share < 1, but got {student_share}; 0.5 is the symmetric one."
            )
        self.student_share = student_share

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: (B, C) logits. Returns a scalar."""
        log_s, log_t = self.log_probabilities(student, teacher)
        log_m = _log_mixture(log_s, log_t, self.student_share)
        rows = self.student_share * kl_rows(log_s, log_m) + (1 - self.student_share) * kl_rows(log_t, log_m)
        return self.temperature**2 * rows.mean()


class SkewedLoss(SoftenedLoss):
    """Base of DistiLLM's divergences. skew: l, the share of the distribution itself in what it is compared with."""

    def __init__(self, *, temperature: float, skew: float) -> None:
        """Raises UserError unless 0 < skew < 1, and for a bad temperature."""
        super().__init__(temperature=temperature)
        if not 0 < skew < 1:
            raise UserError(
                f"{type(self).__name__} needs 0 < skew < 1, but got {skew}; DistiLLM has 0.1, and without skew these "
                "are LogitKD and ReverseKL."
            )
        self.skew = skew


class SkewKL(SkewedLoss):
    """T^2 * KL(p_t || l p_t + (1 - l) p_s), DistiLLM (arXiv:2402.03898), l = 0.1.

    Unlike LogitKD, its limit for l -> 0, it is at most T^2 ln(1/l), and so are its gradients bounded where the student
    gives the teacher's classes no probability.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: (B, C) logits. Returns a scalar."""
        log_s, log_t = self.log_probabilities(student, teacher)
        return self.temperature**2 * kl_rows(log_t, _log_mixture(log_t, log_s, self.skew)).mean()


class SkewReverseKL(SkewedLoss):
    """T^2 * KL(p_s || (1 - l) p_t + l p_s), DistiLLM (arXiv:2402.03898), l = 0.1.

    Unlike ReverseKL, its limit for l -> 0, it is at most T^2 ln(1/l), however confident the teacher is.
    """

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """student, teacher: (B, C) logits. Returns a scalar."""
        log_s, log_t = self.log_probabilities(student, teacher)
        return self.temperature**2 * kl_rows(log_s, _log_mixture(log_s, log_t, self.skew)).mean()
