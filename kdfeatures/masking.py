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

from typing import Any

import torch
from torch import Tensor

from kdfeatures.errors import UserError


def full_precision(tensor: Tensor) -> Tensor:
    """Return `tensor` in float32 or wider: half precision is cast up, float64 stays.

    Every loss passes its inputs through here, directly or by `blank_padding`, before it computes.

    Example:
        >>> import torch
        >>> full_precision(torch.zeros(2, dtype=torch.bfloat16)).dtype
        torch.float32
    """
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def real_tokens(mask: Tensor | None, states: Tensor) -> Tensor:
    """Return the mask as a boolean tensor that fits the states.

    Args:
        mask: (B, L), as above, or None.
        states: (B, L, D) or (B, H, L, d).

    Returns:
        (B, L), True for real tokens.

    Raises:
        UserError: when the mask has another batch size or length than the states.

    Example:
        >>> import torch
        >>> real_tokens(torch.tensor([[1, 0]]), torch.zeros(1, 2, 5)).tolist()
        [[True, False]]
        >>> real_tokens(None, torch.zeros(1, 2, 5)).tolist()
        [[True, True]]
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
    """Return the states with zeros at padded positions, to which no gradient goes.

    Args:
        states: (B, L, D) or (B, H, L, d); padding may hold anything.
        real: (B, L) as `real_tokens` returns it.

    Returns:
        As `states`, in full precision.

    Example:
        >>> import torch
        >>> states = torch.tensor([[[1.0], [torch.nan]]])
        >>> blank_padding(states, torch.tensor([[True, False]])).tolist()
        [[[1.0], [0.0]]]
    """
    if not _rows_are_at_hand(states):
        return torch.where(_by_row(real, states), full_precision(states), 0)
    if real.all():
        return full_precision(states)
    blank: Tensor = _Blanked.apply(states, real)  # type: ignore[no-untyped-call]
    return blank


def zero_padding_(states: Tensor, real: Tensor) -> Tensor:
    """Set the states of padded positions to zero in place, and return them; arguments as for `blank_padding`."""
    if not _rows_are_at_hand(states):
        return states.masked_fill_(~_by_row(real, states), 0)
    sequences, positions = (~real).nonzero(as_tuple=True)
    if states.ndim == 3:
        states[sequences, positions] = 0
    else:
        states[sequences, :, positions] = 0
    return states


def _by_row(real: Tensor, states: Tensor) -> Tensor:
    batch, length = real.shape
    return real.reshape(batch, *[1] * (states.ndim - 3), length, 1)


def _rows_are_at_hand(states: Tensor) -> bool:
    """Whether to write padded rows alone: several times faster than a mask over all values on a CPU; elsewhere asking
    for them would make the host wait, and a graph that is being compiled cannot depend on them.
    """
    return states.device.type == "cpu" and not torch.compiler.is_compiling()


class _Blanked(torch.autograd.Function):
    """A copy of the states in full precision, its padding zero; the derivative is that of the values kept."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, real: Tensor) -> Tensor:
        ctx.save_for_backward(real)
        ctx.dtype = states.dtype
        blank = full_precision(states.new_empty(0)).new_empty(states.shape)  # contiguous, as sums over pairs need it
        return zero_padding_(blank.copy_(states), real)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (real,) = ctx.saved_tensors
        return blank_padding(gradient, real).to(ctx.dtype), None


def real_pairs(real: Tensor, *allowed: Tensor | None) -> Tensor:
    """Return which query-key pairs count: both tokens real, and every `allowed` agrees.

    Args:
        real: (B, L) as `real_tokens` returns it.
        allowed: boolean, broadcastable to (B, H, L, L), as `AttentionStates.keep_mask` gives; None allows all.

    Returns:
        Boolean (B, 1 or H, L, L).

    Example:
        >>> import torch
        >>> real_pairs(torch.tensor([[True, True, False]])).int()[0, 0].tolist()
        [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    """
    pairs = real[:, None, :, None] & real[:, None, None, :]
    for keep in allowed:
        if keep is not None:
            pairs = pairs & keep
    return pairs


def sequence_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Average each sequence over its kept values, then average the sequences that keep any.

    Args:
        values: (B, ...), for instance (B, L) per token, (B, H, L) per row or (B, H, L, L) per pair.
        keep: boolean, broadcastable to `values`.

    Returns:
        A scalar. Nothing kept at all gives 0, with zero gradients.

    Example:
        >>> import torch
        >>> values = torch.tensor([[1.0, 3.0], [8.0, torch.nan]])
        >>> sequence_mean(values, torch.tensor([[True, True], [True, False]])).item()  # (2 + 8) / 2
        5.0
    """
    keep = keep.expand_as(values)
    # the extra axis lets (B,) values through flatten(1): one value a sequence
    totals = torch.where(keep, values, 0).unsqueeze(-1).flatten(1).sum(1)
    counts = keep.unsqueeze(-1).flatten(1).sum(1)
    return mean_of_sums(totals, counts)


def mean_of_sums(totals: Tensor, counts: Tensor) -> Tensor:
    """As `sequence_mean`, from what is left of each sequence when its values have been summed.

    Args:
        totals: (B,), what each sequence sums up to.
        counts: (B,), the number of values in it.

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> mean_of_sums(torch.tensor([4.0, 8.0, 0.0]), torch.tensor([2, 1, 0])).item()  # (2 + 8) / 2
        5.0
    """
    means = totals / counts.clamp(min=1)
    return means.sum() / (counts > 0).sum().clamp(min=1)


def token_mean(states: Tensor, real: Tensor) -> Tensor:
    """Average each sequence's real tokens.

    Args:
        states: (B, L, D) with blank padding.
        real: (B, L) as `real_tokens` returns it.

    Returns:
        (B, D); 0 for a sequence without any.

    Example:
        >>> import torch
        >>> token_mean(torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([[True, True, False]])).tolist()
        [[2.0]]
    """
    return states.sum(1) / real.sum(1, keepdim=True).clamp(min=1)


def masked_mean(values: Tensor, keep: Tensor) -> Tensor:
    """Average the kept values.

    For what relates the examples of a batch to each other; what belongs to one sequence goes through `sequence_mean`.

    Args:
        values: of any shape.
        keep: boolean, of the same shape.

    Returns:
        A scalar; 0, with zero gradients, when nothing is kept.

    Example:
        >>> import torch
        >>> masked_mean(torch.tensor([1.0, 3.0, torch.nan]), torch.tensor([True, True, False])).item()
        2.0
    """
    return torch.where(keep, values, 0).sum() / keep.sum().clamp(min=1)


def centred_tokens(states: Tensor, real: Tensor) -> Tensor:
    """Return all tokens less their mean over the real tokens of the batch, zeros at padded ones.

    Args:
        states: (B, L, D) with blank padding.
        real: (B, L) as `real_tokens` returns it.

    Returns:
        (B * L, D).

    Example:
        >>> import torch
        >>> states, real = torch.tensor([[[1.0], [3.0], [0.0]]]), torch.tensor([[True, True, False]])
        >>> centred_tokens(states, real).tolist()
        [[-1.0], [1.0], [0.0]]
    """
    mean = states.sum((0, 1)) / real.sum().clamp(min=1)
    return blank_padding(states - mean, real).flatten(0, 1)
