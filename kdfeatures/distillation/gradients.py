"""The gradient of each term by itself: its norm on the student, and on the projections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from kdfeatures.errors import ConfigError


def check_measurable(*, sharded: bool, compiled: bool, balanced: bool, explained: bool) -> None:
    """Raise ConfigError where weights are balanced, or a first batch is measured, and no gradient can be taken so.

    sharded, compiled: how the student is trained, by FSDP and as a torch.compile graph.
    """
    what = "balanced" if balanced else "explained"
    if (balanced or explained) and sharded:
        raise ConfigError(
            f"terms that are {what} need the gradients of whole parameters, but FSDP shards them over the processes",
            hint="leave out one of the two",
            key=f"gradients.sharded_{what}",
        )
    if (balanced or explained) and compiled:
        raise ConfigError(
            f"terms that are {what} run backward once for each term, but what torch.compile makes can do so only once",
            hint="leave out one of the two",
            key=f"gradients.compiled_{what}",
        )


def gradient_norms(value: Tensor, groups: Sequence[Sequence[Tensor]]) -> list[Tensor]:
    """Return the Euclidean norm of d value / d parameters for each group of parameters; 0 where no path leads there.

    value: a scalar. Its graph stays for further backward passes, and no `.grad` changes.
    """
    parameters = [parameter for group in groups for parameter in group]
    if not (value.requires_grad and parameters):
        return [torch.zeros_like(value, requires_grad=False) for _ in groups]
    # the backward pass takes its types from the forward pass; autocast would lower float32 matmuls once more
    with torch.autocast(value.device.type, enabled=False):
        gradients = iter(torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True))
    # zip takes from the group first, and so leaves the next group's gradients where they are
    by_group = [[g for _, g in zip(group, gradients, strict=False) if g is not None] for group in groups]
    return [get_total_norm(of_group).to(value) for of_group in by_group]


def measure_terms(values: Mapping[str, Tensor], student: nn.Module, projections: nn.Module) -> Tensor:
    """Return (terms, 3): each term's value, and the norms of its gradient on the trained parameters of both modules.

    It takes one backward pass through the student for each term.
    """
    groups = [[p for p in module.parameters() if p.requires_grad] for module in (student, projections)]
    return torch.stack([torch.stack([x.detach(), *gradient_norms(x, groups)]) for x in values.values()])
