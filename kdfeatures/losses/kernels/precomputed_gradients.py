"""A loss whose gradients are computed with its value, so that nothing of what is inside it stays until backward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


def with_precomputed_gradients(
    loss: Callable[..., Tensor], states: Sequence[Tensor], parameters: Sequence[nn.Parameter]
) -> Tensor:
    """Return loss(*states), whose gradients for states and parameters are computed at once and kept in its stead.

    The value and the gradients are those of the plain call; the graph inside the loss is gone when this returns. So a
    second derivative does not exist. A graph that is being compiled cannot be cut here, and gets the plain call.
    """
    if torch.compiler.is_compiling():
        return loss(*states)
    # float16 gradients are scaled up against underflow, but only later: until then they need the range of float32
    leaves = [(x.float() if x.dtype == torch.float16 else x).detach().requires_grad_(x.requires_grad) for x in states]
    value = loss(*leaves)
    inputs = [*states, *parameters]
    wanted = [(leaf, x) for leaf, x in zip([*leaves, *parameters], inputs, strict=True) if leaf.requires_grad]
    if not value.requires_grad:
        return value
    # the backward pass takes its types from the forward pass; autocast would lower float32 matmuls once more
    with torch.autocast(value.device.type, enabled=False):
        gradients = torch.autograd.grad(value, [leaf for leaf, _ in wanted], allow_unused=True)
    return with_known_gradients(value, {x: g for g, (_, x) in zip(gradients, wanted, strict=True) if g is not None})


def with_known_gradients(value: Tensor, gradients: dict[Tensor, Tensor]) -> Tensor:
    """Return a value, a scalar, whose gradients for the keys are the values of `gradients`."""
    attached: Tensor = _KnownGradients.apply(value.detach(), list(gradients.values()), *gradients)  # type: ignore[no-untyped-call]
    return attached


class _KnownGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [x.dtype for x in inputs]
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (scaled(g, upstream) for g in ctx.saved_tensors)
        return None, None, *(g.to(dtype) for g, dtype in zip(gradients, ctx.dtypes, strict=True))


def scaled(gradient: Tensor, upstream: Tensor) -> Tensor:
    """Return upstream * gradient; the gradient itself where that is the same.

    It is for a loss that is neither weighted nor accumulated. To ask a GPU for the factor would make the host wait.
    """
    return gradient if upstream.device.type == "cpu" and bool(upstream == 1) else upstream * gradient
