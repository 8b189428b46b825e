import torch

from kdfeatures.models.pruning.importance import (
    direction_importance,
    head_importance,
    most_important,
    neuron_importance,
)

torch.manual_seed(0)
WEIGHT = torch.randn(5, 6, dtype=torch.float64)
STATES = torch.randn(1000, 6, dtype=torch.float64) * torch.tensor([1.0, 2.0, 0.1, 1.0, 3.0, 1.0])
STATES -= STATES.mean(0)


def test_a_heads_importance_is_the_variance_of_what_it_adds():
    covariance = STATES.mT @ STATES / len(STATES)
    for heads, size in ((3, 2), (1, 6), (6, 1)):
        added = [STATES[:, h * size : (h + 1) * size] @ WEIGHT[:, h * size : (h + 1) * size].mT for h in range(heads)]
        expected = torch.stack([part.var(0, correction=0).sum() for part in added])
        torch.testing.assert_close(head_importance(WEIGHT, covariance, heads), expected)


def test_a_neurons_importance_is_the_variance_of_what_it_adds():
    expected = torch.stack([torch.outer(STATES[:, n], WEIGHT[:, n]).var(0, correction=0).sum() for n in range(6)])
    torch.testing.assert_close(neuron_importance(WEIGHT, STATES.var(0, correction=0)), expected)


def test_each_map_that_reads_a_direction_counts_the_same_whatever_its_scale():
    variance = STATES.var(0, correction=0)
    other = torch.randn(3, 6, dtype=torch.float64)
    importance = direction_importance([(WEIGHT, variance), (1000 * other, variance)])
    shares = [variance * w.square().sum(0) / (variance * w.square().sum(0)).sum() for w in (WEIGHT, other)]
    torch.testing.assert_close(importance, shares[0] + shares[1])
    torch.testing.assert_close(importance.sum().item(), 2.0)


def test_the_largest_are_kept_in_their_order_and_of_equal_ones_the_first():
    assert most_important(torch.tensor([3.0, 1.0, 3.0, 5.0, 3.0]), 3).tolist() == [0, 2, 3]
    assert most_important(torch.tensor([1.0, 2.0]), 5).tolist() == [0, 1]
