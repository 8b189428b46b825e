"""Divergences between softened class distributions other than Hinton's KL(t || s).

p_s, p_t = softmax(logits / T). All are summed over classes, averaged over examples, 0 at student = teacher and
multiplied by T^2, which keeps the size of the gradient when T changes as in LogitKD. The papers below set T = 1, where
the factor is 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from kdfeatures.errors import ConfigError
from kdfeatures.losses.softened import DivergenceLoss, kl_rows


def _log_mixture(log_p: Tensor, log_q: Tensor, share: float) -> Tensor:
    """log(share * p + (1 - share) * q), without leaving log space."""
    return torch.logaddexp(log_p + math.log(share), log_q + math.log1p(-share))


class ReverseKL(DivergenceLoss):
    """T^2 * KL(p_s || p_t), the direction of MiniLLM (arXiv:2306.08543).

    Unlike LogitKD it punishes probability where the teacher has none more than probability that is missing: the student
    picks one of the teacher's modes instead of covering all. Confident teachers make it large.

    Args:
        temperature: T > 0; the logits are divided by it.

    Raises:
        ConfigError: for any other T.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[1.0, 3.0]]).log(), torch.tensor([[1.0, 1.0]]).log()
        >>> round(ReverseKL()(student, teacher).item(), 4)  # KL((1/4, 3/4) || (1/2, 1/2))
        0.1308
    """

    def of_rows(self, log_s: Tensor, log_t: Tensor) -> Tensor:
        return kl_rows(log_s, log_t)


class JensenShannon(DivergenceLoss):
    """T^2 * (b KL(p_t || m) + (1 - b) KL(p_s || m)) with m = b p_t + (1 - b) p_s, GKD (arXiv:2306.13649).

    At b = 0.5 it is symmetric and at most T^2 ln 2. Divided by b it tends to LogitKD for b -> 0, divided by 1 - b to
    ReverseKL for b -> 1; unlike both it is bounded.

    Args:
        temperature: T > 0; the logits are divided by it.
        beta: b, GKD's beta: the teacher's share in the mixture, above 0 and below 1.

    Raises:
        ConfigError: unless 0 < beta < 1, where it would always be 0, and for a bad temperature.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[90.0, 0.0]]), torch.tensor([[0.0, 90.0]])
        >>> round(JensenShannon()(student, teacher).item(), 4)  # ln 2: no overlap
        0.6931
    """

    def __init__(self, *, temperature: float = 1.0, beta: float = 0.5) -> None:
        super().__init__(temperature=temperature)
        if not 0 < beta < 1:
            raise ConfigError(
                "must be above 0 and below 1", argument="beta", value=beta, hint="0.5 is the symmetric one"
            )
        self.beta = beta

    def of_rows(self, log_s: Tensor, log_t: Tensor) -> Tensor:
        log_m = _log_mixture(log_t, log_s, self.beta)
        return (1 - self.beta) * kl_rows(log_s, log_m) + self.beta * kl_rows(log_t, log_m)


class SkewedLoss(DivergenceLoss):
    """Base of DistiLLM's divergences.

    Args:
        temperature: T > 0; the logits are divided by it.
        skew: l, the share of the distribution itself in what it is compared with, above 0 and below 1.

    Raises:
        ConfigError: unless 0 < skew < 1, and for a bad temperature.
    """

    def __init__(self, *, temperature: float = 1.0, skew: float = 0.1) -> None:
        super().__init__(temperature=temperature)
        if not 0 < skew < 1:
            raise ConfigError(
                "must be above 0 and below 1",
                argument="skew",
                value=skew,
                hint="DistiLLM has 0.1, and without skew these are LogitKD and ReverseKL",
            )
        self.skew = skew


class SkewKL(SkewedLoss):
    """T^2 * KL(p_t || l p_t + (1 - l) p_s), DistiLLM (arXiv:2402.03898), l = 0.1.

    Unlike LogitKD, its limit for l -> 0, it is at most T^2 ln(1/l), and so are its gradients bounded where the student
    gives the teacher's classes no probability.

    Args:
        temperature: T > 0; the logits are divided by it.
        skew: l, the teacher's share in the mixture, above 0 and below 1.

    Raises:
        ConfigError: unless 0 < skew < 1, and for a bad temperature.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[90.0, 0.0]]), torch.tensor([[0.0, 90.0]])
        >>> round(SkewKL()(student, teacher).item(), 4)  # ln 10: no overlap
        2.3026
    """

    def of_rows(self, log_s: Tensor, log_t: Tensor) -> Tensor:
        return kl_rows(log_t, _log_mixture(log_t, log_s, self.skew))


class SkewReverseKL(SkewedLoss):
    """T^2 * KL(p_s || (1 - l) p_t + l p_s), DistiLLM (arXiv:2402.03898), l = 0.1.

    Unlike ReverseKL, its limit for l -> 0, it is at most T^2 ln(1/l), however confident the teacher is.

    Args:
        temperature: T > 0; the logits are divided by it.
        skew: l, the student's share in the mixture, above 0 and below 1.

    Raises:
        ConfigError: unless 0 < skew < 1, and for a bad temperature.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[90.0, 0.0]]), torch.tensor([[0.0, 90.0]])
        >>> round(SkewReverseKL(skew=0.5)(student, teacher).item(), 4)  # ln 2: no overlap
        0.6931
    """

    def of_rows(self, log_s: Tensor, log_t: Tensor) -> Tensor:
        return kl_rows(log_s, _log_mixture(log_s, log_t, self.skew))
