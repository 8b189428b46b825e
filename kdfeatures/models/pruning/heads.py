"""The kept heads of one layer, and heads of another size that do the same."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from kdfeatures.models.pruning.moments import Moments
from kdfeatures.models.pruning.parts import LayerParts
from kdfeatures.models.pruning.refit import bias_of, factored, principal_root, refitted, set_part


@dataclass(frozen=True)
class HeadWeights:
    """One head: q, k and v with their bias as last column, (d, D + 1), and its columns of the output map, (D, d)."""

    query: Tensor
    key: Tensor
    value: Tensor
    output: Tensor


def head_rows(head: int, size: int) -> Tensor:
    """Return the rows of q, k and v, and the columns of the output map, that belong to a head."""
    return torch.arange(head * size, (head + 1) * size)


def kept_heads(
    parts: LayerParts, heads: Tensor, size: int, directions: Tensor, given: Moments, mixed: Moments
) -> tuple[list[HeadWeights], Tensor]:
    """Return the kept heads of size `size` on the kept directions, and the bias of the output map.

    given, mixed: the inputs of q, k and v, and of the output map.
    """
    rows = torch.cat([head_rows(head, size) for head in heads.tolist()])
    query, key, value = (
        _with_bias(*refitted(m.weight, bias_of(m), given, rows, directions))
        for m in (parts.query, parts.key, parts.value)
    )
    output, bias = refitted(parts.output.weight, bias_of(parts.output), mixed, directions, rows)
    places = [head_rows(number, size) for number in range(len(heads))]
    return [HeadWeights(query[at], key[at], value[at], output[:, at]) for at in places], bias


def resized(head: HeadWeights, size: int, given: Moments, directions: Tensor) -> HeadWeights:
    """Return a head of at most `size` dimensions whose scores and outputs are those of `head`, or nearest to them.

    A head that is larger keeps the leading singular directions of q'k and of output times value, on inputs as `given`.
    Scores will be divided by the root of `size`, so q and k each take (size / d)^(1/4).
    """
    own = len(head.query)
    query, key, value, output = head.query, head.key, head.value, head.output
    if size < own:
        moment = _with_one(given, directions)
        root = principal_root(moment)
        left, key = factored(root @ query.mT, key, moment, size)
        query = torch.linalg.solve(root, left).mT
        output, value = factored(output, value, moment, size)
    scale = (size / own) ** 0.25
    return HeadWeights(scale * query, scale * key, value, output)


def write_heads(parts: LayerParts, heads: list[HeadWeights], bias: Tensor, size: int) -> None:
    """Set a layer's q, k, v and output map, in place, to heads of at most `size` dimensions.

    What is left over, of heads and of dimensions, keeps its random values in q and v, and has no effect at first: k
    is 0 in free dimensions, and so are the columns of the output map that read them.
    """
    parts.output.weight.zero_()
    if parts.output.bias is not None:
        parts.output.bias.copy_(bias)
    for number, head in enumerate(heads):
        whole = head_rows(number, size)
        at = whole[: len(head.query)]
        set_part(parts.key, torch.zeros(size, parts.key.in_features), torch.zeros(size), whole)
        for linear, weights in ((parts.query, head.query), (parts.key, head.key), (parts.value, head.value)):
            set_part(linear, weights[:, :-1], weights[:, -1], at)
        parts.output.weight[:, at] = head.output.to(parts.output.weight.dtype)


def _with_bias(weight: Tensor, bias: Tensor) -> Tensor:
    return torch.cat([weight, bias.unsqueeze(1)], dim=1)


def _with_one(given: Moments, directions: Tensor) -> Tensor:
    """Return E [x, 1] [x, 1]' of the kept directions, (D + 1, D + 1)."""
    mean = torch.cat([given.mean[directions], torch.ones(1, dtype=torch.float64)])
    moment = torch.outer(mean, mean)
    moment[:-1, :-1] += given.covariance[directions][:, directions]
    return moment
