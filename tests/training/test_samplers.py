import pytest
import torch

from kdfeatures.training.samplers import LengthBucketSampler


def sampler(examples=103, batch_size=8, seed=3):
    lengths = torch.randint(4, 60, (examples,), generator=torch.Generator().manual_seed(1)).tolist()
    return LengthBucketSampler(lengths, batch_size, seed)


@pytest.mark.parametrize("examples", [1, 7, 8, 9, 103, 1000])
def test_every_example_comes_once(examples):
    assert sorted(sampler(examples)) == list(range(examples))


def test_order_depends_on_seed_and_epoch_alone():
    one, other = sampler(), sampler()
    torch.rand(5)  # the global generator has no say
    assert list(one) == list(other)
    other.set_epoch(1)
    assert list(one) != list(other)
    one.set_epoch(1)
    assert list(one) == list(other)
    assert list(sampler(seed=4)) != list(sampler(seed=3))


def test_batches_hold_like_lengths():
    made = sampler(examples=800)
    batches = torch.tensor(list(made)).split(8)
    padded = sum(8 * made.lengths[batch].max() for batch in batches)
    real = made.lengths.sum()
    shuffled = sum(8 * made.lengths[batch].max() for batch in torch.randperm(800).split(8))
    assert padded < 1.05 * real < shuffled


def test_short_and_long_batches_are_mixed():
    made = sampler(examples=800)
    longest = [int(made.lengths[batch].max()) for batch in torch.tensor(list(made)).split(8)]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)
