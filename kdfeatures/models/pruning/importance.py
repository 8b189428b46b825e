"""How much each head, neuron and direction of the teacher adds to what comes after it."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor


def direction_importance(consumers: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Return the importance of each direction of the hidden states, (D,).

    consumers: of every map that reads them its weight W (out, D) and the variance of its input (D,). A direction counts
    by the share of the map's output variance that it brings, var_d |W_:d|^2 / sum, summed over the maps.
    """
    total: Tensor | None = None
    for weight, variance in consumers:
        brought = variance * weight.double().square().sum(0)
        share = brought / brought.sum()
        total = share if total is None else total + share
    assert total is not None
    return total


def head_importance(output: Tensor, covariance: Tensor, heads: int) -> Tensor:
    """Return the variance that each head adds to the hidden states, tr(W_h C_h W_h^T), (H,).

    output: the output map (D, H d). covariance: of its input (H d, H d).
    """
    size = output.shape[1] // heads
    blocks = [slice(head * size, (head + 1) * size) for head in range(heads)]
    return torch.stack(
        [((output[:, block].double() @ covariance[block, block]) * output[:, block].double()).sum() for block in blocks]
    )


def neuron_importance(down: Tensor, variance: Tensor) -> Tensor:
    """Return the variance that each neuron adds to the hidden states, var_n |W_:n|^2, (neurons,)."""
    return variance * down.double().square().sum(0)


def most_important(importance: Tensor, count: int) -> Tensor:
    """Return the indices of the `count` largest, ascending, or all of fewer; of equal ones the first."""
    order = torch.argsort(importance, descending=True, stable=True)[:count]
    return order.sort().values
