"""Triton kernels for the divergence of relations: the fast path of `pairwise.relation_kl` on a GPU.

One program takes a block of query rows of one head and walks over blocks of keys with a running maximum and
normaliser for either side, as in FlashAttention (arXiv:2205.14135). With scores s of the student and t of the teacher,

    KL = sum_k softmax(t)_k (t_k - s_k) - lse(t) + lse(s),    dKL / ds_k = softmax(s)_k - softmax(t)_k.

The gradient kernel forms the scores again from the operands and the rows' log-sum-exps. All in float32.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from kdfeatures.features import Relation
from kdfeatures.losses.kernels.batching import Gradients, four_dimensional
from kdfeatures.masking import blank_padding

LOWEST = tl.constexpr(-1e30)  # not -inf: its difference with itself is no number


def divergence_sums(
    student: Relation,
    teacher: Relation,
    real: Tensor,
    allowed: tuple[Tensor | None, ...],
    gradients: Gradients | None,
) -> tuple[Tensor, Tensor]:
    """Return the summed divergence of each sequence's rows and their number, (B,); add the sums' gradients.

    Operands in float32 or half precision, at most `pairwise.KERNEL_WIDTH` wide. Arguments as for `parts.parts`.
    """
    batch, heads, length, _ = student.left.shape
    operands = [blank_padding(x, real).contiguous() for x in (*student[:2], *teacher[:2])]
    keep = None
    for mask in allowed:
        if mask is not None:
            keep = four_dimensional(mask, real) if keep is None else keep & mask
    strides = (0, 0, 0, 0) if keep is None else _broadcast_strides(keep)
    divergences, counted, lse_s, lse_t = torch.empty(4, batch * heads, length, device=real.device)
    widths = student.left.shape[-1], teacher.left.shape[-1]
    padded = [max(16, triton.next_power_of_2(width)) for width in widths]  # tl.dot's least width
    block = min(64, max(16, 2048 // max(padded)))  # a program then needs less than 67 KB of shared memory
    grid = (batch * heads, triton.cdiv(length, block))
    of_tokens = real.to(torch.uint8)
    where = (of_tokens, of_tokens if keep is None else keep.view(torch.uint8), heads, length)
    shape = (*widths, student.scale, teacher.scale)
    sizes = {"HAS_ALLOWED": keep is not None, "BLOCK": block, "WIDTH_S": padded[0], "WIDTH_T": padded[1]}
    _divergence[grid](*operands, *where, *strides, *shape, divergences, counted, lse_s, lse_t, **sizes)
    if gradients is not None:
        left_s, right_s, left_t, right_t = operands
        flipped = (*strides[:2], strides[3], strides[2])
        for total, *row_operands, of_keys in (
            (gradients.left, left_s, right_s, left_t, right_t, False),
            (gradients.right, right_s, left_s, right_t, left_t, True),
        ):
            gradient = torch.empty_like(row_operands[0])
            places = flipped if of_keys else strides
            _gradient[grid](*row_operands, *where, *places, *shape, lse_s, lse_t, gradient, OF_KEYS=of_keys, **sizes)
            total += gradient
    return divergences.view(batch, -1).sum(1), counted.view(batch, -1).sum(1)


def _broadcast_strides(mask: Tensor) -> tuple[int, ...]:
    """Strides of a (B, 1 or H, L, L) mask, 0 where one head's stands for all."""
    batch, head, row, key = mask.stride()
    return batch, head if mask.shape[1] > 1 else 0, row, key


@triton.jit
def _load_rows(base, rows, length, width, WIDTH: tl.constexpr):
    """Load (block, WIDTH) of a contiguous (L, d) operand, zeros outside of it."""
    columns = tl.arange(0, WIDTH)
    inside = (rows < length)[:, None] & (columns < width)[None, :]
    return tl.load(base + rows[:, None] * width + columns[None, :], mask=inside, other=0.0)


@triton.jit
def _load_pairs(real, allowed, rows, keys, length, stride_row, stride_key, HAS_ALLOWED: tl.constexpr):
    """Which pairs count, (rows, keys)."""
    row_real = tl.load(real + rows, mask=rows < length, other=0) != 0
    key_real = tl.load(real + keys, mask=keys < length, other=0) != 0
    pairs = row_real[:, None] & key_real[None, :]
    if HAS_ALLOWED:
        places = rows[:, None].to(tl.int64) * stride_row + keys[None, :] * stride_key
        pairs = pairs & (tl.load(allowed + places, mask=pairs, other=0) != 0)
    return pairs


@triton.jit
def _divergence(
    left_s, right_s, left_t, right_t, real, allowed, heads, length,
    stride_b, stride_h, stride_row, stride_key, width_s, width_t, scale_s, scale_t,
    divergence, counted, lse_s, lse_t,
    HAS_ALLOWED: tl.constexpr, BLOCK: tl.constexpr, WIDTH_S: tl.constexpr, WIDTH_T: tl.constexpr,
):  # fmt: skip
    """Write each row's divergence, whether it counts (1 or 0) and its log-sum-exps, (B * H, L) each."""
    head = tl.program_id(0).to(tl.int64)  # of all sequences
    rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real += head // heads * length
    allowed += head // heads * stride_b + head % heads * stride_h
    first = head * length
    queries_s = _load_rows(left_s + first * width_s, rows, length, width_s, WIDTH_S) * scale_s
    queries_t = _load_rows(left_t + first * width_t, rows, length, width_t, WIDTH_T) * scale_t
    most_s = tl.full((BLOCK,), LOWEST, tl.float32)
    most_t = tl.full((BLOCK,), LOWEST, tl.float32)
    sum_s = tl.zeros((BLOCK,), tl.float32)
    sum_t = tl.zeros((BLOCK,), tl.float32)
    sum_difference = tl.zeros((BLOCK,), tl.float32)  # of e^(t - most_t) (t - s)
    for start in range(0, length, BLOCK):
        keys = start + tl.arange(0, BLOCK)
        keys_s = _load_rows(right_s + first * width_s, keys, length, width_s, WIDTH_S)
        keys_t = _load_rows(right_t + first * width_t, keys, length, width_t, WIDTH_T)
        pairs = _load_pairs(real, allowed, rows, keys, length, stride_row, stride_key, HAS_ALLOWED)
        s = tl.where(pairs, tl.dot(queries_s, tl.trans(keys_s), input_precision="ieee"), LOWEST)
        t = tl.where(pairs, tl.dot(queries_t, tl.trans(keys_t), input_precision="ieee"), LOWEST)
        more_s = tl.maximum(most_s, tl.max(s, 1))
        more_t = tl.maximum(most_t, tl.max(t, 1))
        e_s = tl.where(pairs, tl.exp(s - more_s[:, None]), 0.0)
        e_t = tl.where(pairs, tl.exp(t - more_t[:, None]), 0.0)
        shrink_t = tl.exp(most_t - more_t)
        sum_s = sum_s * tl.exp(most_s - more_s) + tl.sum(e_s, 1)
        sum_t = sum_t * shrink_t + tl.sum(e_t, 1)
        sum_difference = sum_difference * shrink_t + tl.sum(e_t * (t - s), 1)
        most_s = more_s
        most_t = more_t
    has_pairs = sum_t > 0
    sum_t = tl.where(has_pairs, sum_t, 1.0)
    log_s = tl.where(has_pairs, most_s + tl.log(tl.where(has_pairs, sum_s, 1.0)), 0.0)
    log_t = tl.where(has_pairs, most_t + tl.log(sum_t), 0.0)
    places = first + rows
    tl.store(divergence + places, sum_difference / sum_t - log_t + log_s, mask=rows < length)
    tl.store(counted + places, has_pairs.to(tl.float32), mask=rows < length)
    tl.store(lse_s + places, log_s, mask=rows < length)
    tl.store(lse_t + places, log_t, mask=rows < length)


@triton.jit
def _gradient(
    rows_s, columns_s, rows_t, columns_t, real, allowed, heads, length,
    stride_b, stride_h, stride_row, stride_column, width_s, width_t, scale_s, scale_t,
    lse_s, lse_t, gradient,
    OF_KEYS: tl.constexpr, HAS_ALLOWED: tl.constexpr, BLOCK: tl.constexpr, WIDTH_S: tl.constexpr, WIDTH_T: tl.constexpr,
):  # fmt: skip
    """Write the derivative by the student's left operand or, where OF_KEYS, its right one: then rows are the keys."""
    head = tl.program_id(0).to(tl.int64)
    rows = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real += head // heads * length
    allowed += head // heads * stride_b + head % heads * stride_h
    first = head * length
    x_s = _load_rows(rows_s + first * width_s, rows, length, width_s, WIDTH_S) * scale_s
    x_t = _load_rows(rows_t + first * width_t, rows, length, width_t, WIDTH_T) * scale_t
    total = tl.zeros((BLOCK, WIDTH_S), tl.float32)
    for start in range(0, length, BLOCK):
        columns = start + tl.arange(0, BLOCK)
        y_s = _load_rows(columns_s + first * width_s, columns, length, width_s, WIDTH_S)
        y_t = _load_rows(columns_t + first * width_t, columns, length, width_t, WIDTH_T)
        pairs = _load_pairs(real, allowed, rows, columns, length, stride_row, stride_column, HAS_ALLOWED)
        if OF_KEYS:
            log_s = tl.load(lse_s + first + columns, mask=columns < length, other=0.0)[None, :]
            log_t = tl.load(lse_t + first + columns, mask=columns < length, other=0.0)[None, :]
        else:
            log_s = tl.load(lse_s + first + rows, mask=rows < length, other=0.0)[:, None]
            log_t = tl.load(lse_t + first + rows, mask=rows < length, other=0.0)[:, None]
        p_s = tl.exp(tl.dot(x_s, tl.trans(y_s), input_precision="ieee") - log_s)
        p_t = tl.exp(tl.dot(x_t, tl.trans(y_t), input_precision="ieee") - log_t)
        # selected, not multiplied: a pair that does not count may overflow
        total += tl.dot(tl.where(pairs, p_s - p_t, 0.0), y_s, input_precision="ieee")
    features = tl.arange(0, WIDTH_S)
    inside = (rows < length)[:, None] & (features < width_s)[None, :]
    places = rows[:, None] * width_s + features[None, :]
    tl.store(gradient + first * width_s + places, total * scale_s, mask=inside)
