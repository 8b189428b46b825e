import pytest
import torch

from kdfeatures.errors import UserError
from kdfeatures.training.samplers import TokenBudgetBatches


def lengths(examples=1000, longest=60):
    return torch.randint(4, longest + 1, (examples,), generator=torch.Generator().manual_seed(1))


def made(examples=1000, budget=256, *, seed=3, multiple_of=1):
    return TokenBudgetBatches(lengths(examples), budget, seed, multiple_of=multiple_of)


def positions(sampler):
    return [len(batch) * int(sampler.lengths[batch].max()) for batch in sampler]


@pytest.mark.parametrize("examples, multiple_of", [(1, 1), (7, 1), (100, 3), (1000, 8)])
def test_every_example_comes_once_an_epoch_in_batches_within_the_budget(examples, multiple_of):
    sampler = made(examples, multiple_of=multiple_of)
    for epoch in range(4):
        sampler.set_epoch(epoch)
        batches = list(sampler)
        assert sorted(index for batch in batches for index in batch) == list(range(examples))
        assert len(batches) == len(sampler) and len(sampler) % multiple_of == 0
        assert max(positions(sampler)) <= 256


def test_every_epoch_has_as_many_batches_wherever_the_first_cut_falls():
    for seed in range(20):
        for examples in (3, 10, 57):
            sampler = made(examples, budget=61, seed=seed)
            for epoch in range(10):
                sampler.set_epoch(epoch)
                assert len(list(sampler)) == len(sampler)


def test_batches_depend_on_seed_and_epoch_alone():
    one, other = made(), made()
    torch.rand(5)  # the global generator has no say
    assert list(one) == list(other)
    other.set_epoch(1)
    assert list(one) != list(other)
    one.set_epoch(1)
    assert list(one) == list(other)
    assert list(made(seed=4)) != list(made(seed=3))


def test_padding_is_little_and_batches_are_nearly_full():
    sampler = made(5000, budget=1024)
    filled = positions(sampler)
    assert sampler.lengths.sum() / sum(filled) > 0.99
    assert sum(filled) / len(filled) > 0.95 * 1024


def test_neighbours_in_length_meet_in_other_batches_next_epoch():
    sampler = made()
    first = {frozenset(batch) for batch in sampler}
    sampler.set_epoch(1)
    assert len(first & {frozenset(batch) for batch in sampler}) < 0.02 * len(first)


def test_short_and_long_batches_are_mixed():
    sampler = made()
    longest = [int(sampler.lengths[batch].max()) for batch in sampler]
    assert longest != sorted(longest) and longest != sorted(longest, reverse=True)


def test_an_example_longer_than_the_budget_is_refused_with_both_numbers():
    with pytest.raises(UserError, match=r"tokens_per_batch=59 is less than the longest training example, 60 tokens"):
        made(budget=59)


def test_too_few_examples_for_one_step_are_refused():
    with pytest.raises(UserError, match=r"makes steps of 8 batches, but 7 training examples cannot fill 8; raise it"):
        made(7, multiple_of=8)
