"""||s - t||^2 of every token with little memory: what HiddenMSE averages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from kdfeatures.masking import zero_padding_


def squared_distances(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """Return ||s - t||^2 per token, (B, L), 0 at padding.

    Holds one tensor of the states' size, where autograd needs six.

    Args:
        student: (B, L, D), in full precision; padding may hold anything.
        teacher: (B, L, D), likewise.
        real: (B, L) as `masking.real_tokens` returns it.

    Example:
        >>> import torch
        >>> real = torch.tensor([[True, True, False]])
        >>> squared_distances(torch.zeros(1, 3, 4), torch.full((1, 3, 4), 2.0), real).tolist()
        [[16.0, 16.0, 0.0]]
    """
    apply: Callable[..., Tensor] = _SquaredDistances.apply
    return apply(student, teacher, real)


class _SquaredDistances(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
        difference = student - teacher
        zero_padding_(difference, real)
        ctx.save_for_backward(difference)
        lengths: Tensor = torch.linalg.vector_norm(difference, dim=-1)
        return lengths.square()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        (difference,) = ctx.saved_tensors
        gradient = difference * (2 * upstream)[..., None]
        return gradient, -gradient if ctx.needs_input_grad[1] else None, None
