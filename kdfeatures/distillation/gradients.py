"""The gradient of each term by itself: its norm on the student, and on the projections."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from transformers import TrainingArguments

from kdfeatures.errors import UserError


def check_measurable(arguments: TrainingArguments, *, balanced: bool, explained: bool) -> None:
    """Raise UserError where balance=shares or explain=true is asked for and no gradient can be taken term by term."""
    option = "balance=shares" if balanced else "explain=true"
    if (balanced or explained) and arguments.fsdp:
        raise UserError(
            f"{option} needs the gradients of whole parameters, but trainer.fsdp=true shards them over the processes; "
            "leave out one of the two."
        )
    if (balanced or explained) and arguments.torch_compile:
        raise UserError(
            f"{option} runs backward once for each term, but what trainer.torch_compile=true makes can do so only "
            "once; leave out one of the two."
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
        found = iter(torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True))
    # zip takes from the group first, and so leaves the next group's gradients where they are
    by_group = [[g for _, g in zip(group, found, strict=False) if g is not None] for group in groups]
    return [get_total_norm(gradients).to(value) for gradients in by_group]


def measure_terms(values: Mapping[str, Tensor], student: nn.Module, projections: nn.Module) -> Tensor:
    """Return (terms, 3): each term's value, and the norms of its gradient on the trained parameters of both modules.

    It takes one backward pass through the student for each term.
    """
    groups = [[p for p in module.parameters() if p.requires_grad] for module in (student, projections)]
    return torch.stack([torch.stack([x.detach(), *gradient_norms(x, groups)]) for x in values.values()])
