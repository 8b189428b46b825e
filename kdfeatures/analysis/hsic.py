"""The unbiased estimator of HSIC with linear kernels: of two samples without an n x n matrix, and of many at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kdfeatures.errors import UserError


def unbiased_hsic(x: Tensor, y: Tensor) -> Tensor:
    """Return HSIC_1 of Song et al. 2012 (JMLR 13, eq. 5) for K = x x' and L = y y' with zero diagonals:

    1 / (n (n - 3)) [tr(K L) + 1'K1 1'L1 / ((n - 1)(n - 2)) - 2 / (n - 2) 1'K L 1]

    x: (n, d), y: (n, e); n samples. Unlike the biased estimator, that of linear CKA, it is 0 on average for independent
    x and y also where n is not much larger than d, and may be negative. Needs no centring. O(n d e).
    Raises UserError for fewer than 4 samples.
    """
    n = len(x)
    _check_samples(n)
    diagonal_x, diagonal_y = x.square().sum(1), y.square().sum(1)
    trace = (x.mT @ y).square().sum() - (diagonal_x * diagonal_y).sum()
    rows_x, rows_y = x @ x.sum(0) - diagonal_x, y @ y.sum(0) - diagonal_y
    sums = rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * (rows_x * rows_y).sum()) / (n * (n - 3))


def unbiased_hsics(kernels_x: Tensor, kernels_y: Tensor) -> Tensor:
    """Return the same for every kernel of one stack with every kernel of another, (a, b).

    kernels_x: (a, n, n), kernels_y: (b, n, n), with zero diagonals, as `kernels_of` makes them. O((a + b) n^2 d) with
    the making of the kernels, against O(a b n d^2) of single calls of `unbiased_hsic`: for many layers of one batch.
    """
    n = kernels_x.shape[-1]
    trace = kernels_x.flatten(1) @ kernels_y.flatten(1).mT
    rows_x, rows_y = kernels_x.sum(-1), kernels_y.sum(-1)
    sums = rows_x.sum(1)[:, None] * rows_y.sum(1) / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * (rows_x @ rows_y.mT)) / (n * (n - 3))


def kernels_of(states: Sequence[Tensor]) -> Tensor:
    """Return the linear kernels of several (n, d), d may differ, with zero diagonals, as float64 (len(states), n, n).

    Raises UserError for fewer than 4 samples.
    """
    _check_samples(len(states[0]))
    # a shift changes nothing but the digits that are lost
    centred = [state.double() - state.double().mean(0) for state in states]
    kernels = torch.stack([state @ state.mT for state in centred])
    kernels.diagonal(dim1=1, dim2=2).zero_()
    return kernels


def _check_samples(n: int) -> None:
    if n < 4:
        raise UserError(f"unbiased HSIC needs at least 4 samples, but there are {n} tokens; give longer texts or more.")
