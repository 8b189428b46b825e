"""The unbiased estimator of HSIC with linear kernels, without an n x n matrix."""

from __future__ import annotations

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
    if n < 4:
        raise UserError(f"unbiased HSIC needs at least 4 samples, but there are {n} tokens; give longer texts or more.")
    diagonal_x, diagonal_y = x.square().sum(1), y.square().sum(1)
    trace = (x.mT @ y).square().sum() - (diagonal_x * diagonal_y).sum()
    rows_x, rows_y = x @ x.sum(0) - diagonal_x, y @ y.sum(0) - diagonal_y
    sums = rows_x.sum() * rows_y.sum() / ((n - 1) * (n - 2))
    return (trace + sums - 2 / (n - 2) * (rows_x * rows_y).sum()) / (n * (n - 3))
