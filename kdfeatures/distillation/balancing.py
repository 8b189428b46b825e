"""Weights that follow the gradients: each term gets a stated share of the gradient on the student."""

from __future__ import annotations

import math
from collections.abc import Mapping

from kdfeatures.errors import ConfigError


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

    def __init__(
        self,
        shares: Mapping[str, float] | None = None,
        *,
        every: int = 10,
        momentum: float = 0.5,
        limit: float = 1000.0,
    ) -> None:
        """shares: {term: share}, 1 for those not named. Raises ConfigError for numbers that make no sense."""
        shares = shares or {}
        for name, share in shares.items():
            if not 0 < share < math.inf:
                raise ConfigError(
                    "must be a finite number above 0",
                    argument=f"shares.{name}",
                    value=share,
                    hint="leave the term out to drop it",
                    key="balance.share",
                    term=name,
                )
        if every < 1:
            raise ConfigError("must be at least 1 step", argument="every", value=every)
        if not 0 <= momentum < 1:
            raise ConfigError("must be from 0, no smoothing, to below 1", argument="momentum", value=momentum)
        if not 1 <= limit < math.inf:
            raise ConfigError("must be a finite number from 1", argument="limit", value=limit)
        self.shares = dict(shares)
        self.every, self.momentum, self.limit = every, momentum, limit
        self.norms: dict[str, float] = {}  # G by term: all that a checkpoint must keep

    def afresh(self) -> GradientBalancer:
        """Return one with the same shares that has measured nothing, for another training."""
        return GradientBalancer(self.shares, every=self.every, momentum=self.momentum, limit=self.limit)

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
        measured = [name for name, weight in configured.items() if weight > 0 and self.norms.get(name, 0.0) > 0]
        shares = {name: self.share(name) * configured[name] / largest[name] for name in measured}
        whole = sum(configured[name] * self.norms[name] for name in measured)
        balanced = {}
        for name in measured:
            weight = shares[name] / sum(shares.values()) * whole / self.norms[name]
            balanced[name] = min(max(weight, configured[name] / self.limit), configured[name] * self.limit)
        return {**configured, **balanced}
