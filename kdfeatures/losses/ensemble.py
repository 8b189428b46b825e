"""Several teachers as one: the average of what they say, in the form of one teacher's logits."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from kdfeatures.masking import full_precision


def averaged(logits: Tensor, shares: Tensor, temperature: float | None, *, independent: bool = False) -> Tensor:
    """Return z with softmax(z / T) = sum_k a_k softmax(z_k / T): T log of that sum.

    A loss of temperature T takes it as it takes the logits of a single teacher. An average of the logits themselves
    would give the geometric mean of the distributions instead, in which one teacher that rules a class out outvotes all
    others. For C == 1 (regression) the outputs are averaged as they are, sum_k a_k z_k.

    Args:
        logits: (K, ..., C), of K teachers.
        shares: (K,), above 0 and summing to 1.
        temperature: T > 0; None averages the outputs as they are.
        independent: whether each output is the logit of a label of its own; then sigmoid(z / T) is what is averaged.

    Returns:
        (..., C).

    Example:
        >>> import torch
        >>> logits = torch.tensor([[[1.0, 1.0]], [[1.0, 3.0]]]).log()  # (1/2, 1/2) and (1/4, 3/4)
        >>> averaged(logits, torch.tensor([0.5, 0.5]), 1.0).softmax(-1).tolist()
        [[0.375, 0.625]]
    """
    logits = full_precision(logits)
    shares = shares.to(logits).view(-1, *[1] * (logits.ndim - 1))
    if temperature is not None and independent:
        logits, weights = logits / temperature, shares.log()
        yes, no = ((F.logsigmoid(z) + weights).logsumexp(0) for z in (logits, -logits))
        return temperature * (yes - no)
    if temperature is None or logits.shape[-1] == 1:
        return (shares * logits).sum(0)
    return temperature * ((logits / temperature).log_softmax(-1) + shares.log()).logsumexp(0)
