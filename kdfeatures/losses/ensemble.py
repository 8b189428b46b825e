"""Several teachers as one: the average of what they say, in the form of one teacher's logits."""

from __future__ import annotations

from torch import Tensor

from kdfeatures.masking import full_precision


def averaged(logits: Tensor, shares: Tensor, temperature: float | None) -> Tensor:
    """Return z with softmax(z / T) = sum_k a_k softmax(z_k / T): T log of that sum.

    logits: (K, ..., C), of K teachers. shares: (K,), above 0 and summing to 1. Returns (..., C), which a loss of
    temperature T takes as it takes the logits of a single teacher. An average of the logits themselves would give the
    geometric mean of the distributions instead, in which one teacher that rules a class out outvotes all others. For
    temperature None, and for C == 1 (regression), the outputs are averaged as they are: sum_k a_k z_k.
    """
    logits = full_precision(logits)
    shares = shares.to(logits).view(-1, *[1] * (logits.ndim - 1))
    if temperature is None or logits.shape[-1] == 1:
        return (shares * logits).sum(0)
    return temperature * ((logits / temperature).log_softmax(-1) + shares.log()).logsumexp(0)
