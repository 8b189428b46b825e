"""Sums over token pairs from Gram matrices, in O(L d^2) and without an L x L matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from kdfeatures.losses.parts import Gradients, Part

# Below this share of the sum's terms the difference has lost two digits, and is computed anew in float64.
CANCELLED = 0.01


def gram_pays(length: int, width_s: int, width_t: int) -> bool:
    """Whether Gram matrices need fewer operations than L x L scores, value and gradient together.

    Multiplications by head; 10 for each score stand for the passes over it.
    """
    both = width_s + width_t
    return 2 * both**2 + 2 * both * width_s < length * (both + 2 * width_s + 10)


def add_squares(part: Part, gradients: Gradients | None, centered: bool) -> tuple[Tensor, Tensor]:
    """As `blocks.add_blocks` with the squared difference of the scores, for a part where all real pairs count.

    With A = [scale_s Q_s, -scale_t Q_t] and B = [K_s, K_t] the difference of the scores is A B', and its squares sum
    up to <A'A, B'B>, whose derivative is 2 A (B'B) by A and 2 B (A'A) by B. centered: as in `pairwise.score_mse`; the
    rows of B then lose their mean.
    """
    found = _add_squares(part, gradients, centered, part.left_s.dtype)
    if found is None:
        found = _add_squares(part, gradients, centered, torch.float64)
    counts = torch.full_like(found, part.length) if part.real is None else part.real.sum(1)
    return found, part.left_s.shape[1] * counts**2


def _add_squares(part: Part, gradients: Gradients | None, centered: bool, dtype: torch.dtype) -> Tensor | None:
    """Return the sums (b,), or None when too little is left of them in `dtype`; the gradients are then untouched."""
    (batch, heads, length, width), device = part.left_s.shape, part.left_s.device
    left, right = _beside(part.left_s, part.left_t, dtype), _beside(part.right_s, part.right_t, dtype)
    if centered:
        _center(right, part.real)
    left, right = left.flatten(0, 1), right.flatten(0, 1)  # (b * H, n, d_s + d_t)
    signs = torch.full((left.shape[-1],), part.scale_s, dtype=dtype, device=device)
    signs[width:] = -part.scale_t
    # scaled here and not in `left`: these are smaller
    of_left = torch.bmm(left.mT, left).mul_(signs * signs[:, None])
    of_right = torch.bmm(right.mT, right)
    products = (of_left * of_right).unflatten(0, (batch, heads))
    totals = products.sum((1, 2, 3))
    if dtype == torch.float32 and device.type != "mps":  # which has no float64
        terms = totals - 2 * products[..., :width, width:].sum((1, 2, 3))
        if (totals < CANCELLED * terms).any():
            return None
    if gradients is not None:
        by_left = torch.bmm(left, of_right[..., :width] * (2 * part.scale_s * signs[:, None]))
        by_right = torch.bmm(right, of_left[..., :width] * 2)
        gradients.left[part.batch, :, :length] += by_left.unflatten(0, (batch, heads))
        gradients.right[part.batch, :, :length] += by_right.unflatten(0, (batch, heads))
    return totals.clamp(min=0).to(part.left_s.dtype)


def _beside(states_s: Tensor, states_t: Tensor, dtype: torch.dtype) -> Tensor:
    """Return (b, H, n, d_s + d_t) in the given precision."""
    width = states_s.shape[-1]
    both = torch.empty(*states_s.shape[:3], width + states_t.shape[-1], dtype=dtype, device=states_s.device)
    both[..., :width], both[..., width:] = states_s, states_t
    return both


def inner_product(states: Tensor, others: Tensor) -> Tensor:
    """Return <S S', T T'>, the sum over token pairs of the products of two similarities; differentiable.

    states, others: S (..., L, d_s) and T (..., L, d_t) with zeros at padded positions; the result is (...). It equals
    ||S'T||^2, which is taken where that product has fewer entries than the two L x L similarities. What Gram and NST
    losses are made of, and linear CKA (arXiv:1905.00414) once the columns are centred.
    """
    length, width = states.shape[-2:]
    if width * others.shape[-1] <= 2 * length**2:
        return (states.mT @ others).square().sum((-2, -1))
    return ((states @ states.mT) * (others @ others.mT)).sum((-2, -1))


def _center(states: Tensor, real: Tensor | None) -> None:
    """Subtract from the real rows of `states`, (b, H, n, d), their mean; the others are zero and stay so."""
    if real is None:
        states -= states.mean(-2, keepdim=True)
        return
    keep = real[:, None, :, None]
    mean = states.sum(-2, keepdim=True) / keep.sum(-2, keepdim=True).clamp(min=1)
    states -= mean * keep
