"""Features of a teacher that reads other texts than the student: a control for what layers teach.

Sizes, scales and positions are as before, but nothing is about the text at hand. What a student gains all the same
comes from regularising alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdfeatures.features import Features


def features_of_other_texts(features: Features, mask: Tensor) -> Features:
    """Return a batch's features with each text in the place of the one after it.

    mask: (B, L), 1 for real tokens. Where texts differ in length, the tokens of the shorter one begin again from its
    first, so that every real token of a text gets one of the other: no mask changes. A batch of one text keeps its own.
    Whatever limited a layer's attention in the other text (AttentionStates.allowed) falls away.
    """
    real = mask.bool()
    source = _tokens(real)
    moved = Features()
    for layer, hidden in features.hidden.items():
        moved.hidden[layer] = _gather_tokens(hidden, source, 1)
    for number, states in features.attention.items():
        query, key, value = (_gather_tokens(x, source, 2) for x in (states.query, states.key, states.value))
        bias = states.bias
        if bias is not None and len(bias) > 1:  # of content; one for all texts is of positions alone
            bias = _gather_tokens(_gather_tokens(bias, source, 2).mT.roll(-1, 0), source, 2).mT
        moved.attention[number] = states._replace(query=query, key=key, value=value, allowed=None, used=None, bias=bias)
    return moved


def _tokens(real: Tensor) -> Tensor:
    """Return which token of the text before it each place takes, (B, L); padding may stand on either side."""
    first = (~real).int().argsort(dim=1, stable=True).roll(1, 0)  # real tokens of the other text, in their order
    lengths = real.sum(1, keepdim=True).clamp(min=1).roll(1, 0)
    counted = (real.cumsum(1) - 1).clamp(min=0)  # the how manieth real token of its own text
    return first.gather(1, counted % lengths)


def _gather_tokens(states: Tensor, source: Tensor, dim: int) -> Tensor:
    """Return states (B, ..., L, d), whose tokens lie in `dim`, as the text before has them at `source`, (B, L)."""
    shape = [1] * states.dim()
    shape[0], shape[dim] = source.shape
    return torch.take_along_dim(states.roll(1, 0), source.view(shape), dim=dim)
