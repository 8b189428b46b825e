"""The only place that averages over real tokens or token pairs.

Rule: each sequence is averaged over its own real tokens (rows, or query-key pairs), then the sequences are
averaged. A sequence without a real token is left out of the second mean; when none is left, the result is a
differentiable 0.

Why not one mean over all tokens of the batch: there a sequence's weight depends on the lengths of its
neighbours, so the value changes with the batching. Here every sequence counts once; micro-batches of equal
size (gradient accumulation, DDP, length buckets) therefore average to the value of the whole batch. It is
also the 1/|x| of MiniLM (arXiv:2002.10957).

Padding may hold anything, NaN and infinity included. A zero weight would not help (0 * nan is nan, forward
and backward), so losses blank padded states before any arithmetic and `sequence_mean` selects before it sums.

A mask is (B, L), True or 1 for real tokens, of boolean, integer or float type; None means that every token is
real. It is the tokenizer's attention mask, not the additive one (0 / -inf) that models build from it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kdfeatures.errors import UserError


def full_precision(tensor: Tensor) -> Tensor:
    """Return `tensor` in float32 or wider: half precision is cast up, float64 stays.

    Every loss passes its inputs through here, directly or by `blank_padding`, before it computes.
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def real_tokens(mask: Tensor | None, states: Tensor) -> Tensor:
    """Return the mask as a boolean (B, L) tensor that fits `states`, (B, L, D) or (B, H, L, d).

    Raises UserError when the mask has another batch size or length than the states.
    """
    expected = (states.shape[0], states.shape[-2])
    if mask is None:
        return torch.ones(expected, dtype=torch.bool, device=states.device)
    if mask.shape != expected:
        raise UserError(
            f"the mask must be (batch, tokens) = {expected} like the states, but is {tuple(mask.shape)}; "
            "pass the tokenizer's attention_mask of the same batch."
        )
    return mask.bool()


def blank_padding(states: Tensor, real: Tensor) -> Tensor:
    """Return `states`, (B, L, D) or (B, H, L, d), in full precision and with zeros at padded positions.

    real: (B, L) as `real_tokens` returns it. No gradient reaches the padded positions.
    """
    batch, length = real.shape
    keep = real.reshape(batch, *[1] * (states.ndim - 3), length, 1)
    return torch.where(keep, full_precision(states), 0)


def real_pairs(real: Tensor, *allowed: Tensor | None) -> Tensor:
    """Return which query-key pairs count, boolean (B, 1 or H, L, L): both tokens real, and every `allowed`
    agrees.

    real: (B, L). allowed: boolean, broadcastable to (B, H, L, L), as `AttentionStates.keep_mask` gives; None
    allows all.
    """
    pairs = real[:, None, :, None] & real[:, None, None, :]
    for keep in allowed:
        if keep is not None:
            pairs = pairs & keep
    return pairs


def sequence_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Average each sequence over its kept values, then average the sequences that keep any. Returns a scalar.

    values: (B, ...), for instance (B, L) per token, (B, H, L) per row or (B, H, L, L) per pair.
    keep: boolean, broadcastable to `values`. Nothing kept at all gives 0, with zero gradients.
    """
    keep = keep.expand_as(values)
    # the extra axis lets (B,) values through flatten(1): one value a sequence
    totals = torch.where(keep, values, 0).unsqueeze(-1).flatten(1).sum(1)
    counts = keep.unsqueeze(-1).flatten(1).sum(1)
    return mean_of_sums(totals, counts)


def mean_of_sums(totals: Tensor, counts: Tensor) -> Tensor:
    """As `sequence_mean`, from what each sequence sums up to and the number of values in it, both (B,)."""
    means = totals / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)
