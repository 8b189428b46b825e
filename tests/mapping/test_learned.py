import math

import pytest
import torch
from support.moving import moving_map
from support.refused import refused_as


def distance(student, teacher):
    return (student - teacher).square().mean()


def test_it_is_the_weighted_sum_of_the_pairs_and_the_gradient_that_of_a_softmax():
    made = moving_map("learned").double()
    with torch.no_grad():
        made.logits.copy_(torch.tensor([[0.3, -1.0, 2.0], [0.0, 0.5, 0.1]]))
    student, teachers = torch.randn(4, dtype=torch.float64), list(torch.randn(3, 4, dtype=torch.float64))
    values = torch.stack([distance(student, teacher) for teacher in teachers])
    value = made.compare(1, student, teachers, distance, None)
    (gradient,) = torch.autograd.grad(value, made.logits)
    weights = torch.tensor([math.exp(x) for x in (0.3, -1.0, 2.0)], dtype=torch.float64)
    weights /= weights.sum()
    torch.testing.assert_close(value, weights @ values)
    torch.testing.assert_close(gradient[0], weights * (values - weights @ values))
    assert not gradient[1].any()
    torch.testing.assert_close(made.weights()[0], weights)


def test_all_layers_weigh_the_same_at_first():
    torch.testing.assert_close(moving_map("learned").weights(), torch.full((2, 3), 1 / 3))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf])
def test_a_learning_rate_that_trains_nothing_is_refused(rate):
    told = f"learning_rate={rate} must be a finite number above 0"
    with refused_as(f"^{told}", "mapping", f"mapping.{told}"):
        moving_map("learned", learning_rate=rate)
