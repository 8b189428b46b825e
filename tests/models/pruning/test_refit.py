import numpy as np
import pytest
import torch
from torch import nn

from kdfeatures.models.pruning.moments import Moments
from kdfeatures.models.pruning.refit import RIDGE, factored, refitted, refitted_norm

torch.manual_seed(0)
INPUTS = torch.randn(400, 7, dtype=torch.float64) @ torch.randn(7, 7, dtype=torch.float64) + 0.5
WEIGHT, BIAS = torch.randn(5, 7, dtype=torch.float64), torch.randn(5, dtype=torch.float64)
ROWS, COLUMNS = torch.tensor([0, 3, 4]), torch.tensor([1, 2, 5, 6])


def moments_of(vectors):
    moments = Moments(vectors.shape[1])
    for part in vectors.split(64):
        moments.add(part)
    return moments


def test_moments_are_those_of_all_vectors_at_once():
    moments = moments_of(INPUTS)
    torch.testing.assert_close(moments.mean, INPUTS.mean(0))
    torch.testing.assert_close(moments.covariance, torch.cov(INPUTS.mT, correction=0))


def test_a_map_of_fewer_inputs_is_the_ridge_regression_of_its_outputs_on_them():
    weight, bias = refitted(WEIGHT, BIAS, moments_of(INPUTS), ROWS, COLUMNS)
    # the same by numpy on the vectors: rows that pull the slopes to those of the kept columns would be another ridge
    kept = (INPUTS - INPUTS.mean(0))[:, COLUMNS].numpy()
    others = (INPUTS - INPUTS.mean(0)).numpy()
    ridge = np.sqrt(RIDGE * (kept**2).mean(0).mean() * len(kept)) * np.eye(4)
    slopes, *_ = np.linalg.lstsq(np.vstack([kept, ridge]), np.vstack([others, np.zeros((4, 7))]), rcond=None)
    expected = WEIGHT[ROWS].numpy() @ slopes.T
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-9)
    given, wanted = INPUTS[:, COLUMNS] @ weight.mT + bias, (INPUTS @ WEIGHT.mT + BIAS)[:, ROWS]
    torch.testing.assert_close(given.mean(0), wanted.mean(0))


def test_no_other_map_of_these_inputs_is_nearer():
    weight, bias = refitted(WEIGHT, BIAS, moments_of(INPUTS), ROWS, COLUMNS)
    wanted = (INPUTS @ WEIGHT.mT + BIAS)[:, ROWS]

    def error(w, b):
        return (INPUTS[:, COLUMNS] @ w.mT + b - wanted).square().sum()

    best = error(weight, bias)
    assert error(WEIGHT[ROWS][:, COLUMNS], BIAS[ROWS]) > 1.2 * best
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        step = 0.05 * torch.randn(3, 4, dtype=torch.float64, generator=generator)
        assert error(weight + step, bias) > best


def test_a_map_that_keeps_its_inputs_is_copied():
    weight, bias = refitted(WEIGHT, BIAS, moments_of(INPUTS), ROWS, torch.arange(7))
    assert torch.equal(weight, WEIGHT[ROWS]) and torch.equal(bias, BIAS[ROWS])


def test_a_norm_of_fewer_directions_is_each_directions_own_regression():
    norm = nn.LayerNorm(7).double()
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    with torch.no_grad():
        scale, shift = refitted_norm(norm, INPUTS, COLUMNS)
        wanted = norm(INPUTS)[:, COLUMNS].numpy()
    kept = INPUTS[:, COLUMNS].numpy()
    normalised = (kept - kept.mean(1, keepdims=True)) / np.sqrt(kept.var(1, keepdims=True) + norm.eps)
    for column in range(4):
        slope, offset = np.polyfit(normalised[:, column], wanted[:, column], 1)
        assert scale[column].item() == pytest.approx(slope, rel=1e-8)
        assert shift[column].item() == pytest.approx(offset, rel=1e-8)


def test_a_product_of_lower_rank_leaves_the_error_that_no_other_can_undercut():
    left, right = torch.randn(5, 4, dtype=torch.float64), torch.randn(4, 7, dtype=torch.float64)
    moment = INPUTS.mT @ INPUTS / len(INPUTS)
    small_left, small_right = factored(left, right, moment, 2)
    assert small_left.shape == (5, 2) and small_right.shape == (2, 7)
    error = (INPUTS @ (small_left @ small_right - left @ right).mT).square().sum()
    singular = np.linalg.svd((INPUTS @ right.mT @ left.mT).numpy(), compute_uv=False)
    assert error.item() == pytest.approx((singular[2:] ** 2).sum(), rel=1e-8)
