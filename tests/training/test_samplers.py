from itertools import islice

import pytest
import torch
from datasets import Dataset
from torch.utils.data import DataLoader

from kdfeatures.training.samplers import EndlessShare, LengthBucketSampler


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


def stream(examples, shards=1):
    return Dataset.from_dict({"number": range(examples)}).to_iterable_dataset(num_shards=shards)


def passes(share, size, count=2):
    """The numbers of the first passes over a share of `size` examples."""
    numbers = (row["number"] for row in share)
    return [list(islice(numbers, size)) for _ in range(count)]


@pytest.mark.parametrize(
    "examples, shards, sizes", [(100, 1, [34, 33, 33]), (100, 5, [34, 33, 33]), (102, 6, [34] * 3)]
)
def test_each_example_of_a_stream_is_read_by_one_process_in_each_pass(examples, shards, sizes):
    # six files are shared out; of one or five each process reads every third example
    mixed = stream(examples, shards).shuffle(seed=7, buffer_size=20)
    shares = [passes(EndlessShare(mixed, rank, 3), size) for rank, size in enumerate(sizes)]
    for one in zip(*shares, strict=True):
        assert sorted(number for numbers in one for number in numbers) == list(range(examples))
    first, second = shares[0]
    assert first != second, "a pass is mixed anew"
    assert passes(EndlessShare(mixed, 0, 3), sizes[0]) == shares[0], "and the same in another run"


def test_loading_processes_share_a_share_and_one_without_files_ends():
    share = EndlessShare(stream(24, shards=4), 1, 2)
    (whole,) = passes(share, 12, count=1)
    loaded = islice(DataLoader(share, batch_size=None, num_workers=2), 12)
    assert sorted(row["number"] for row in loaded) == sorted(whole)
    with_idle_process = islice(DataLoader(share, batch_size=None, num_workers=3), 24)
    assert {row["number"] for row in with_idle_process} == set(whole)
