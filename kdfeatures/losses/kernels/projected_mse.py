"""HiddenMSE of a linear map of the student's states, in slices that stay in a CPU's cache.

The projected states, (B, L, D_t), are never held: each slice of real tokens is projected, compared and turned into its
share of the gradients before the next one is. Padding is left out of the products. On a GPU separate matrix products
over all tokens are faster.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from kdfeatures.losses.kernels.precomputed_gradients import scaled
from kdfeatures.masking import real_tokens

TOKENS = 512  # of a slice: fewer keep a CPU's threads waiting for each other, more leave its cache


def can_project(student: Tensor, linear: nn.Module, teacher: Tensor) -> bool:
    """Whether `projected_mse` computes what `HiddenMSE()(linear(student), teacher, mask)` would: on a CPU, student and
    map in float32 or float64, a teacher of no more bits, and nothing attached to the map that its call would run.
    """
    return (
        type(linear) is nn.Linear
        and not (linear._forward_hooks or linear._forward_pre_hooks)
        and student.device.type == "cpu"
        and student.dtype == linear.weight.dtype
        and student.dtype in (torch.float32, torch.float64)
        and torch.promote_types(student.dtype, teacher.dtype) == student.dtype
        and teacher.shape == (*student.shape[:-1], linear.out_features)
        and not (teacher.requires_grad or torch.is_autocast_enabled("cpu") or torch.compiler.is_compiling())
    )


def projected_mse(student: Tensor, linear: nn.Linear, teacher: Tensor, mask: Tensor | None) -> Tensor:
    """Return `HiddenMSE()(linear(student), teacher, mask)`, TinyBERT eq. 8 (arXiv:1909.10351).

    student: (B, L, D_s). teacher: (B, L, D_t), without gradients. mask: (B, L), True for real tokens, or None. Returns
    a scalar, differentiable once. Only where `can_project` says so.
    """
    apply: Callable[..., Tensor] = _ProjectedMSE.apply
    return apply(student, linear.weight, linear.bias, teacher, real_tokens(mask, student))


class _ProjectedMSE(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student: Tensor, weight: Tensor, bias: Tensor | None, teacher: Tensor, real: Tensor
    ) -> Tensor:
        counts = real.sum(1, keepdim=True)
        # of a token's squared distance in the loss, twice: its own derivative brings the 2
        shares = (2 * real / (counts.clamp(min=1) * (counts > 0).sum().clamp(min=1) * len(weight))).to(student.dtype)
        states, targets, shares = student.flatten(0, 1), teacher.flatten(0, 1), shares.flatten()[:, None]
        value = student.new_zeros(())
        by_states = torch.zeros_like(states, requires_grad=False)
        by_weight = torch.zeros_like(weight, requires_grad=False)
        by_bias = None if bias is None else torch.zeros_like(bias, requires_grad=False)
        for tokens in _slices(real):
            part = states[tokens]
            difference = targets[tokens].to(part.dtype, copy=True) if bias is None else targets[tokens] - bias
            difference.addmm_(part, weight.mT, beta=-1)
            weighted = difference * shares[tokens]
            value += torch.dot(difference.flatten(), weighted.flatten())
            by_states[tokens] = torch.mm(weighted, weight)
            by_weight.addmm_(weighted.mT, part)
            if by_bias is not None:
                by_bias += weighted.sum(0)
        ctx.save_for_backward(by_states.view_as(student), by_weight, by_bias)
        return value / 2

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        gradients = (
            scaled(gradient, upstream) if gradient is not None and needed else None
            for gradient, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        )
        return *gradients, None, None


def _slices(real: Tensor) -> Iterator[slice | Tensor]:
    """Yield the real tokens of a batch, (B, L), TOKENS at a time: as a slice, or as numbers where some are left out."""
    if real.all():
        yield from (slice(start, start + TOKENS) for start in range(0, real.numel(), TOKENS))
    else:
        yield from real.flatten().nonzero()[:, 0].split(TOKENS)
