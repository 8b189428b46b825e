"""Means over rows of logits, a few rows at a time: of a vocabulary's width, what lies between would fill the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from kdfeatures.losses.kernels.precomputed_gradients import with_known_gradients
from kdfeatures.masking import full_precision

# Logits in one block. A loss holds some seven such blocks between value and gradient: 2 MB each in float32 stay near a
# CPU's caches; a GPU wants large ones.
CPU_BLOCK, DEVICE_BLOCK = 2**19, 2**25
LARGE = 2**20  # from so many logits on they are worth cutting


def row_blocks(rows: int, columns: int, device: torch.device, *, times: int = 1) -> Iterator[slice]:
    """Yield slices of as many rows as a block has room for, at least one; `times` that many."""
    room = (CPU_BLOCK if device.type == "cpu" else DEVICE_BLOCK) * times
    step = max(1, room // columns)
    for first in range(0, rows, step):
        yield slice(first, min(first + step, rows))


def value_and_gradient(loss: Callable[[Tensor], Tensor], logits: Tensor) -> tuple[Tensor, Tensor]:
    """Return loss(logits), in full precision, and its gradient. logits: (rows, C) without a graph."""
    with torch.enable_grad():
        leaf = full_precision(logits).detach().requires_grad_()
        value = loss(leaf)
        (gradient,) = torch.autograd.grad(value, leaf)
    return value.detach(), gradient


def mean_over_rows(loss: Callable[[Tensor, Tensor], Tensor], student: Tensor, teacher: Tensor) -> Tensor:
    """Return loss(student, teacher), a mean over rows of (rows, C), computed block by block where they are large.

    The gradient is computed with the value, and is all that is kept until backward; it has no derivative of its own.
    """
    rows, columns = student.shape
    if rows * columns < LARGE or torch.compiler.is_compiling():
        return loss(student, teacher)
    differentiable = torch.is_grad_enabled() and student.requires_grad
    logits, targets = student.detach(), teacher.detach()
    total = torch.zeros((), dtype=full_precision(logits[:0]).dtype, device=student.device)
    # float16 gradients are scaled up against underflow, but only later
    gradient = torch.empty_like(logits, dtype=_gradient_type(logits.dtype)) if differentiable else None
    for block in row_blocks(rows, columns, student.device):
        share = (block.stop - block.start) / rows

        def of_block(x: Tensor, block: slice = block, share: float = share) -> Tensor:
            return share * loss(x, targets[block])

        if gradient is None:
            total += of_block(logits[block])
        else:
            value, gradient[block] = value_and_gradient(of_block, logits[block])
            total += value
    return total if gradient is None else with_known_gradients(total, {student: gradient})


def _gradient_type(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype == torch.float16 else dtype
