"""Weights that follow the gradients: each term gets a stated share of the gradient on the student."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from omegaconf import DictConfig

from kdfeatures.config.schema import section
from kdfeatures.errors import UserError, nearest


@dataclass
class BalanceConfig:
    """shares: {term: share}, 1 for those not named. every: steps between measurements. momentum, limit: its own."""

    shares: dict[str, float] | None
    every: int
    momentum: float
    limit: float


class GradientBalancer:
    """Weights W_k by which term k's gradient on the student has the share s_k of the sum of all terms' norms.

        W_k = a_k * (sum_j w_j G_j) / G_k,  a_k = s_k r_k / sum_j s_j r_j

    w_k: the configured weight. G_k: the norm of term k's own gradient on the student's trained parameters (not the
    projections'), which is measured on the first batch of every `every`-th step and smoothed: G <- momentum G +
    (1 - momentum) g. r_k: w_k over its largest value, 1 for a constant: a schedule of a weight acts on the share.
    So sum_k W_k G_k = sum_k w_k G_k: only the shares change, and learning rate and clipping keep their meaning. W_k
    stays within w_k / limit and w_k * limit, against terms whose gradient has been almost 0. A term of weight 0, or
    without any gradient yet, keeps its weight, and is left out of the sums; so do all before the first measurement.

    Unlike GradNorm (arXiv:1711.02257) it measures all of the student instead of the last shared layer (terms on
    different layers share none), sets the weights instead of learning them, and does not ask how fast a term falls.
    Of several processes, and of accumulated batches, the norm is that of one batch: the mean over processes of their
    own norms, of a step's first batches. A small batch's gradient is larger by its noise.
    A step that measures three terms takes 1.5 times as long (12 x 384 teacher, 6 x 192 student, batch 16 x 64 and 128).
    """

    def __init__(self, shares: Mapping[str, float], *, every: int, momentum: float, limit: float) -> None:
        """Raises UserError for a share that is not above 0, and for numbers that make no sense."""
        for name, share in shares.items():
            if not 0 < share < math.inf:
                raise UserError(
                    f"balance.shares.{name}={share} must be a finite number above 0; ~losses.{name} drops the term."
                )
        if every < 1:
            raise UserError(f"balance.every={every} must be at least 1 step.")
        if not 0 <= momentum < 1:
            raise UserError(f"balance.momentum={momentum} must be from 0, no smoothing, to below 1.")
        if not 1 <= limit < math.inf:
            raise UserError(f"balance.limit={limit} must be a finite number from 1.")
        self.shares = dict(shares)
        self.every, self.momentum, self.limit = every, momentum, limit
        self.norms: dict[str, float] = {}  # G by term: all that a checkpoint must keep

    def due(self, step: int) -> bool:
        """True where the step, from 0, is one to measure."""
        return step % self.every == 0

    def share(self, name: str) -> float:
        """Return the share of a term as the user stated it, 1 for terms not named."""
        return self.shares.get(name, 1.0)

    def note(self, norms: Mapping[str, float]) -> None:
        """Take measured norms into G. One that is not finite is left out."""
        for name, norm in norms.items():
            if math.isfinite(norm):
                before = self.norms.get(name, norm)
                self.norms[name] = self.momentum * before + (1 - self.momentum) * norm

    def weights(self, configured: Mapping[str, float], largest: Mapping[str, float]) -> dict[str, float]:
        """Return W by term. configured: the present w; largest: the largest that each takes in the whole training."""
        found = [name for name, weight in configured.items() if weight > 0 and self.norms.get(name, 0.0) > 0]
        shares = {name: self.share(name) * configured[name] / largest[name] for name in found}
        whole = sum(configured[name] * self.norms[name] for name in found)
        balanced = {}
        for name in found:
            weight = shares[name] / sum(shares.values()) * whole / self.norms[name]
            balanced[name] = min(max(weight, configured[name] / self.limit), configured[name] * self.limit)
        return {**configured, **balanced}


def balance_settings(cfg: DictConfig) -> GradientBalancer | None:
    """Return the balancer of a composed run config, None with balance=off; raises UserError for bad settings."""
    if "shares" not in cfg.balance:
        if cfg.balance.every is not None:
            raise UserError(f"balance.every={cfg.balance.every} has no effect with balance=off; say balance=shares.")
        return None
    settings = section(cfg, "balance", BalanceConfig)
    return GradientBalancer(
        settings.shares or {}, every=settings.every, momentum=settings.momentum, limit=settings.limit
    )


def check_shares(cfg: DictConfig, terms: Collection[str]) -> None:
    """Raise UserError for a share of what is no term of any of the run's stages."""
    balance = balance_settings(cfg)
    for name in balance.shares if balance is not None else ():
        if name not in terms:
            known = ", ".join(dict.fromkeys(terms))
            raise UserError(f"balance.shares.{name} names no term{nearest(name, terms)}; the run has {known}.")
