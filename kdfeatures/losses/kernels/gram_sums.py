"""Sums over token pairs from Gram matrices, in O(L d^2) and without an L x L matrix."""

from __future__ import annotations

import torch
from torch import Tensor

from kdfeatures.losses.kernels.batching import Gradients, Part

# Below this share of the sum's terms the difference has lost two digits, and is computed anew in float64.
CANCELLED = 0.01


def gram_pays(length: int, width_s: int, width_t: int) -> bool:
    """Whether Gram matrices need fewer operations than L x L scores, value and gradient together.

    Multiplications by head; 60 for each score stand for the passes over it.
    """
    width = width_s + width_t
    return 2 * width**2 + 2 * width * width_s < length * (width + 2 * width_s + 60)


def add_squares(part: Part, gradients: Gradients | None, centered: bool) -> tuple[Tensor, Tensor]:
    """As `blocks.add_blocks` with the squared difference of the scores, for a part where all real pairs count.

    With X = scale_s Q_s and Y = scale_t Q_t the squares sum up to <X'X, K_s'K_s> - 2 <Y'X, K_t'K_s> + <Y'Y, K_t'K_t>,
    whose derivative is 2 X (K_s'K_s) - 2 Y (K_t'K_s) by X, and 2 K_s (X'X) - 2 K_t (Y'X) by K_s. centered: as in
    `pairwise.score_mse`; the rows of K_s and K_t then lose their mean.
    """
    totals, cancelled = _add_squares(part, gradients, centered, part.left_s.dtype)
    if cancelled:
        totals, _ = _add_squares(part, gradients, centered, torch.float64)
    counts = torch.full_like(totals, part.length) if part.real is None else part.real.sum(1)
    return totals, part.left_s.shape[1] * counts**2


def _add_squares(part: Part, gradients: Gradients | None, centered: bool, dtype: torch.dtype) -> tuple[Tensor, bool]:
    """Return the sums (b,), and whether too little is left of them in `dtype`; the gradients are then untouched."""
    batch, heads, length, _ = part.left_s.shape
    right_s, right_t = part.right_s.to(dtype), part.right_t.to(dtype)
    if centered:
        right_s, right_t = _centered(right_s, part.real), _centered(right_t, part.real)
    # (b * H, n, d): views of the model's own tensors when a sequence is alone
    q_s, q_t, k_s, k_t = (x.flatten(0, 1) for x in (part.left_s.to(dtype), part.left_t.to(dtype), right_s, right_t))
    of_queries, of_keys = _grams(q_s, q_t), _grams(k_s, k_t)
    within_s, across, within_t = (
        torch.linalg.vecdot(*(x.reshape(batch, -1) for x in grams)) for grams in zip(of_queries, of_keys, strict=True)
    )
    squares, product = part.scale_s**2, part.scale_s * part.scale_t
    terms = squares * within_s + part.scale_t**2 * within_t
    totals = terms - 2 * product * across
    if dtype == torch.float32 and totals.device.type != "mps" and (totals < CANCELLED * terms).any():
        return totals, True  # on mps there is no float64 to compute it in
    if gradients is not None:
        for gradient, x_s, x_t, (gram_s, gram_ts, _) in (
            (gradients.left, q_s, q_t, of_keys),
            (gradients.right, k_s, k_t, of_queries),
        ):
            of_part = torch.bmm(x_s, gram_s.mul_(2 * squares)).baddbmm_(x_t, gram_ts, alpha=-2 * product)
            gradient[part.batch, :, :length] += of_part.unflatten(0, (batch, heads))
    return totals.clamp(min=0).to(part.left_s.dtype), False


def _grams(states_s: Tensor, states_t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return S'S, T'S and T'T."""
    return torch.bmm(states_s.mT, states_s), torch.bmm(states_t.mT, states_s), torch.bmm(states_t.mT, states_t)


def _centered(states: Tensor, real: Tensor | None) -> Tensor:
    """Return `states`, (b, H, n, d), without the mean of their real rows; the others are zero and stay so."""
    if real is None:
        return states - states.mean(-2, keepdim=True)
    keep = real[:, None, :, None]
    return states - states.sum(-2, keepdim=True) / keep.sum(-2, keepdim=True).clamp(min=1) * keep
