"""Maps and norms of fewer inputs, fitted to give on those what they gave on all: least squares in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kdfeatures.models.pruning.moments import Moments

RIDGE = 1e-4  # of the mean variance of the inputs: directions that the sample hardly shows get no large weights
FLOOR = 1e-10  # of the largest second moment


def refitted(weight: Tensor, bias: Tensor, moments: Moments, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return W' (rows, columns) and b' (rows,) that minimise E |W' x_columns + b' - (W x + b)_rows|^2, float64.

    weight, bias: W (out, in) and b (out,). moments: of x. With all columns they are W and b themselves; otherwise W' is
    W plus what the kept inputs tell of the others (the regression of x on x_columns, with a small ridge).
    """
    kept, offset = weight.double()[rows], bias.double()[rows]
    if len(columns) == weight.shape[1]:
        return kept, offset
    mean, covariance = moments.mean, moments.covariance
    inner = covariance[columns][:, columns]
    ridge = RIDGE * inner.diagonal().mean() * torch.eye(len(columns), dtype=inner.dtype)
    regression = torch.linalg.solve(inner + ridge, covariance[columns]).mT  # (in, columns)
    return kept @ regression, offset + kept @ (mean - regression @ mean[columns])


def refitted_norm(norm: nn.LayerNorm, vectors: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return the scale and shift with which LayerNorm over `columns` alone is nearest to `norm` there, float64.

    vectors: its input, (n, D). Mean and variance of fewer directions are others, so each direction is regressed on its
    own normalised value.
    """
    target = nn.functional.layer_norm(
        vectors, norm.normalized_shape, norm.weight.double(), norm.bias.double(), norm.eps
    )[:, columns]
    normalised = nn.functional.layer_norm(vectors[:, columns], (len(columns),), eps=norm.eps)
    centred = normalised - normalised.mean(0)
    scale = (centred * target).mean(0) / centred.square().mean(0).clamp_min(norm.eps)
    return scale, target.mean(0) - scale * normalised.mean(0)


def factored(left: Tensor, right: Tensor, moment: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """Return L' (out, rank) and R' (rank, in) with L' R' nearest to L R on inputs of second moment M (in, in).

    left, right: L (out, d) and R (d, in), rank < d. The truncated singular value decomposition of L R M^(1/2), which no
    other product of that rank beats in E |L' R' x - L R x|^2 (Eckart and Young).
    """
    root = principal_root(moment)
    u, singular, vh = torch.linalg.svd(left @ right @ root, full_matrices=False)
    half = singular[:rank].sqrt()
    return u[:, :rank] * half, torch.linalg.solve(root, half.unsqueeze(1) * vh[:rank], left=False)


def principal_root(moment: Tensor) -> Tensor:
    """Return the symmetric root of a second moment; directions that the sample does not show count as very small."""
    values, vectors = torch.linalg.eigh(moment)
    return (vectors * values.clamp_min(values.max() * FLOOR).sqrt()) @ vectors.mT


def bias_of(linear: nn.Linear) -> Tensor:
    """Return the bias (out,), zeros for a map without one."""
    return torch.zeros(linear.out_features) if linear.bias is None else linear.bias


def set_part(linear: nn.Linear, weight: Tensor, bias: Tensor, rows: Tensor) -> None:
    """Set some rows of a map, in place; a map without bias leaves it out."""
    linear.weight[rows] = weight.to(linear.weight.dtype)
    if linear.bias is not None:
        linear.bias[rows] = bias.to(linear.weight.dtype)
