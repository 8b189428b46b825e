"""Two relations cut into parts of the batch, so that sums over token pairs need neither padding nor L x L scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from typing import NamedTuple

import torch
from torch import Tensor

from kdfeatures.features import Relation
from kdfeatures.masking import blank_padding

# Scores in one block. A comparison holds about five such blocks, 5 MB in float32 on a CPU: of smaller ones the calls
# cost more than the caches save (2**16 takes a third to a half as long again at 128 to 512 tokens). A GPU wants large
# ones.
CPU_BLOCK, DEVICE_BLOCK = 2**18, 2**22


class Gradients(NamedTuple):
    """What the student's operands get, (B, H, L, d) each; the same tensor twice for a self-relation.

    bias: (B, H, L, L), for one that is learned; or None.
    """

    left: Tensor
    right: Tensor
    bias: Tensor | None = None


class Part(NamedTuple):
    """Some sequences of the batch, cut to the longest of them: b sequences of n tokens.

    left_s ... right_t: (b, H, n, d), in full precision, padding blanked. real: (b, n), or None when nothing is
    padded. allowed: boolean (b, 1 or H, n, n) each; none when they allow every pair of real tokens. bias_s, bias_t:
    (b or 1, H, n, n) or None.
    """

    batch: slice
    length: int
    left_s: Tensor
    right_s: Tensor
    left_t: Tensor
    right_t: Tensor
    scale_s: float
    scale_t: float
    real: Tensor | None
    allowed: tuple[Tensor, ...]
    bias_s: Tensor | None
    bias_t: Tensor | None

    def keep(self, heads: slice, rows: slice) -> Tensor | None:
        """Return which pairs count, boolean (b, 1 or h, r, n), or None for all."""
        keep = None if self.real is None else self.real[:, None, rows, None] & self.real[:, None, None]
        for allowed in self.allowed:
            of_block = allowed[:, heads if allowed.shape[1] > 1 else slice(None), rows]
            keep = of_block if keep is None else keep & of_block
        return keep

    def blocks(self) -> Iterator[tuple[slice, slice]]:
        """Yield heads and query rows of blocks with at most as many scores as the device likes, but one row."""
        batch, heads, length, _ = self.left_s.shape
        room = _block_size(self.left_s.device) // batch
        some_heads = min(heads, max(1, room // length**2))
        some_rows = min(length, max(1, room // length)) if some_heads == 1 else length
        for head in range(0, heads, some_heads):
            for row in range(0, length, some_rows):
                yield slice(head, head + some_heads), slice(row, row + some_rows)


def parts(
    student: Relation, teacher: Relation, real: Tensor, allowed: tuple[Tensor | None, ...], tokens: int
) -> Iterator[Part]:
    """Cut the batch, (B, H, L, d) operands, into parts; sequences without a real token may be left out.

    real: (B, L) as `masking.real_tokens` returns it. allowed: as in `masking.real_pairs`. tokens: so many may be in one
    part even where their scores would not fit into a block.
    """
    operands = student.left, student.right, teacher.left, teacher.right
    dtype = reduce(torch.promote_types, (x.dtype for x in operands), torch.float32)
    masks = [four_dimensional(mask, real) for mask in allowed if mask is not None]
    for batch, length, padded in _cuts(real, student.left.shape[1], tokens):
        part_real = real[batch, :length] if padded else None
        left_s, right_s, left_t, right_t = (_cut(x[batch, :, :length], part_real, dtype) for x in operands)
        restricting = [mask[batch, :, :length, :length] for mask in masks]
        if all(_allows_all(mask, part_real) for mask in restricting):
            restricting = []
        scales = student.scale, teacher.scale
        biases = (_cut_bias(relation.bias, batch, length, dtype) for relation in (student, teacher))
        yield Part(batch, length, left_s, right_s, left_t, right_t, *scales, part_real, tuple(restricting), *biases)


def sum_parts(
    student: Relation,
    teacher: Relation,
    real: Tensor,
    allowed: tuple[Tensor | None, ...],
    gradients: Gradients | None,
    *,
    tokens: int,
    add: Callable[[Part, Gradients | None], tuple[Tensor, Tensor]],
) -> tuple[Tensor, Tensor]:
    """Return what each sequence sums up to and the number of values in it, both (B,).

    Arguments as for `parts`; add: does it for one part, and adds the part's gradients to those of the batch, if any.
    """
    dtype = torch.promote_types(student.left.dtype, torch.float32)
    totals, counts = torch.zeros(2, len(real), dtype=dtype, device=real.device)
    for part in parts(student, teacher, real, allowed, tokens):
        totals[part.batch], counts[part.batch] = add(part, gradients)
    return totals, counts


def _cut(states: Tensor, real: Tensor | None, dtype: torch.dtype) -> Tensor:
    return (states if real is None else blank_padding(states, real)).to(dtype)


def _cut_bias(bias: Tensor | None, batch: slice, length: int, dtype: torch.dtype) -> Tensor | None:
    if bias is None:
        return None
    return (bias if len(bias) == 1 else bias[batch])[:, :, :length, :length].to(dtype)


def _block_size(device: torch.device) -> int:
    return CPU_BLOCK if device.type == "cpu" else DEVICE_BLOCK


def _cuts(real: Tensor, heads: int, tokens: int) -> Iterator[tuple[slice, int, bool]]:
    """Yield the sequences of each part, its length and whether it is padded.

    Where lengths are at hand (a CPU), long sequences stay alone and need no mask; elsewhere asking for them would make
    the host wait for the device.
    """
    batch, length = real.shape
    if real.device.type == "cpu":
        ends: list[int] = (real * torch.arange(1, length + 1)).amax(1).tolist()
        counts: list[int] = real.sum(1).tolist()
    else:
        ends, counts = [length] * batch, [0] * batch
    most = _block_size(real.device) // 2  # operands of several sequences are copied, which a full block does not repay
    start = 0
    while start < batch:
        stop, longest = start + 1, ends[start]
        while stop < batch:
            wider = max(longest, ends[stop])
            together = wider * (stop + 1 - start)
            if together > tokens and heads * wider * together > most:
                break
            longest = wider
            stop += 1
        if longest:
            yield slice(start, stop), longest, any(count < longest for count in counts[start:stop])
        start = stop


def four_dimensional(mask: Tensor, real: Tensor) -> Tensor:
    """Return a view (B, 1 or H, L, L) of a mask that broadcasts to it."""
    batch, length = real.shape
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    return mask.expand(batch, mask.shape[1], length, length)


def _allows_all(mask: Tensor, real: Tensor | None) -> bool:
    """True when the mask, (b, 1 or H, n, n), keeps every pair of real tokens."""
    if real is not None:
        mask = mask | ~(real[:, None, :, None] & real[:, None, None])
    return bool(mask.view(torch.uint8).min())  # several times faster than all()
