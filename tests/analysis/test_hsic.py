import pytest
import torch

from kdfeatures.analysis.hsic import kernels_of, unbiased_hsic, unbiased_hsics
from kdfeatures.errors import UserError


def from_the_definition(x, y):
    """Song et al. 2012, eq. 4: a mean over ordered tuples of distinct samples, term by term."""
    n = len(x)
    own, other = x @ x.T, y @ y.T
    two = three = four = 0.0
    for i in range(n):
        for j in range(n):
            if j == i:
                continue
            two += own[i, j] * other[i, j]
            for q in range(n):
                if q in (i, j):
                    continue
                three += own[i, j] * other[i, q]
                for r in range(n):
                    if r not in (i, j, q):
                        four += own[i, j] * other[q, r]
    pairs = n * (n - 1)
    return two / pairs + four / (pairs * (n - 2) * (n - 3)) - 2 * three / (pairs * (n - 2))


@pytest.mark.parametrize("n", [4, 5, 9])
def test_it_equals_the_mean_over_distinct_samples_that_defines_it(n):
    torch.manual_seed(0)
    x, y = torch.randn(n, 3, dtype=torch.float64), torch.randn(n, 6, dtype=torch.float64) + 2
    torch.testing.assert_close(unbiased_hsic(x, y), torch.as_tensor(from_the_definition(x, y)))


def test_independent_data_of_many_dimensions_give_zero_on_average_where_the_biased_estimator_does_not():
    torch.manual_seed(0)
    n, d = 20, 100
    found, biased = [], []
    for _ in range(400):
        x, y = torch.randn(n, d, dtype=torch.float64), torch.randn(n, d, dtype=torch.float64)
        found.append(unbiased_hsic(x, y) / (unbiased_hsic(x, x) * unbiased_hsic(y, y)).sqrt())
        centred_x, centred_y = x - x.mean(0), y - y.mean(0)
        cross = (centred_x.T @ centred_y).square().sum()
        biased.append(cross / ((centred_x.T @ centred_x).norm() * (centred_y.T @ centred_y).norm()))
    found, biased = torch.stack(found), torch.stack(biased)
    assert found.mean().abs() < 3 * found.std() / 20
    assert biased.mean() > 0.7


def test_a_shift_of_the_data_changes_nothing():
    torch.manual_seed(0)
    x, y = torch.randn(8, 3, dtype=torch.float64), torch.randn(8, 2, dtype=torch.float64)
    torch.testing.assert_close(unbiased_hsic(x + 5, y - 3), unbiased_hsic(x, y))


def test_three_samples_are_too_few():
    with pytest.raises(UserError, match="at least 4 samples, but there are 3"):
        unbiased_hsic(torch.ones(3, 2), torch.ones(3, 2))


def test_all_pairs_at_once_are_those_one_by_one():
    torch.manual_seed(0)
    x = [torch.randn(11, width) + 3 for width in (3, 6)]
    y = [torch.randn(11, width) for width in (2, 5, 20)]
    found = unbiased_hsics(kernels_of(x), kernels_of(y))
    single = torch.stack([torch.stack([unbiased_hsic(own.double(), other.double()) for other in y]) for own in x])
    torch.testing.assert_close(found, single)
    with pytest.raises(UserError, match="at least 4 samples, but there are 3"):
        kernels_of([torch.ones(3, 2)])
