"""Sums over token pairs, block of scores by block: value and gradient together, so that no L x L scores are held."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from kdfeatures.losses.kernels.batching import Gradients, Part


def add_blocks(
    part: Part,
    gradients: Gradients | None,
    compare: Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """Return what each of the part's sequences sums up to and the number of values in it, both (b,).

    compare: takes scores_s and scores_t, (b, h, r, n), which it may overwrite, and which pairs count; returns the
    block's sums and counts, (b,), and the derivative of the sums by scores_s. gradients: those of the whole batch, to
    which this part's are added, or None.
    """
    totals, counts = torch.zeros(2, len(part.left_s), dtype=part.left_s.dtype, device=part.left_s.device)
    for heads, rows in part.blocks():
        left, right = part.left_s[:, heads, rows] * part.scale_s, part.right_s[:, heads]
        scores_s = _product(left, right.mT)
        scores_t = _product(part.left_t[:, heads, rows] * part.scale_t, part.right_t[:, heads].mT)
        if part.bias_s is not None:
            scores_s = scores_s + part.bias_s[:, heads, rows]
        if part.bias_t is not None:
            scores_t = scores_t + part.bias_t[:, heads, rows]
        block_totals, block_counts, by_scores = compare(scores_s, scores_t, part.keep(heads, rows))
        totals += block_totals
        counts += block_counts
        if gradients is not None:
            gradients.left[part.batch, heads, : part.length][:, :, rows] += _product(by_scores, right) * part.scale_s
            gradients.right[part.batch, heads, : part.length] += _product(by_scores.mT, left)
            if gradients.bias is not None:
                gradients.bias[part.batch, heads, : part.length, : part.length][:, :, rows] += by_scores
    return totals, counts


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Return left @ right; for one sequence without the copies that matmul makes of four-dimensional views."""
    return torch.bmm(left[0], right[0])[None] if len(left) == 1 else left @ right


def divergence(scores_s: Tensor, scores_t: Tensor, keep: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """`compare` of `add_blocks` with the KL divergence of each row."""
    batch, heads, rows, _ = scores_s.shape
    if keep is None:
        counts = torch.full((batch,), heads * rows, device=scores_s.device)
    else:
        # not -inf: a row without a key is then uniform on both sides and adds 0; half the lowest number, so that
        # log_softmax has room to subtract
        lowest = torch.finfo(scores_s.dtype).min / 2
        scores_s.masked_fill_(~keep, lowest)
        scores_t.masked_fill_(~keep, lowest)
        counts = keep.any(-1).sum((1, 2)) * (heads // keep.shape[1])
    log_s, log_t = torch.log_softmax(scores_s, -1, out=scores_s), torch.log_softmax(scores_t, -1, out=scores_t)
    p_t = log_t.exp()
    totals = _dot(p_t, log_t.sub_(log_s))
    return totals, counts, log_s.exp_().sub_(p_t)


def squares(
    scores_s: Tensor, scores_t: Tensor, keep: Tensor | None, *, centered: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """`compare` of `add_blocks` with the squared difference of each pair."""
    batch, heads, rows, keys = scores_s.shape
    difference = scores_s.sub_(scores_t)
    if keep is None:
        counts = torch.full((batch,), heads * rows * keys, device=scores_s.device)
        if centered:
            difference -= difference.mean(-1, keepdim=True)
    else:
        difference.masked_fill_(~keep, 0)
        counts = keep.sum((1, 2, 3)) * (heads // keep.shape[1])
        if centered:
            mean = difference.sum(-1, keepdim=True) / keep.sum(-1, keepdim=True).clamp(min=1)
            difference.sub_(mean).masked_fill_(~keep, 0)
    totals = _dot(difference, difference)
    return totals, counts, difference.mul_(2)


def _dot(x: Tensor, y: Tensor) -> Tensor:
    """Return the inner product of each sequence's values, (b, ...) to (b,)."""
    x, y = x.flatten(1), y.flatten(1)
    # for one sequence several times faster on a CPU, where long sequences come alone
    return torch.dot(x[0], y[0])[None] if len(x) == 1 else torch.linalg.vecdot(x, y)
