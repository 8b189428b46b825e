"""Batches of like length, in an order that depends on seed and epoch alone; and a process's share of a stream.

The Trainer's own group_by_length draws its order from the global generator, so a run resumed after its first epoch
sees other batches than the uninterrupted one. Of a stream it lets one process read all, and sends the others theirs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import count
from typing import Any

import datasets
import torch
from datasets.distributed import split_dataset_by_node
from torch.utils.data import IterableDataset, Sampler

from kdfeatures.errors import ConfigError

POOL = 50  # batches sorted together: large enough for little padding, small enough to mix


class LengthBucketSampler(Sampler[int]):
    """Indices so that each run of `batch_size` has like lengths; examples and batches are shuffled every epoch.

    lengths: tokens of every example. batch_size: of one optimiser step over all processes, so that the order is the
    same for any number of them.
    """

    def __init__(self, lengths: Sequence[int] | torch.Tensor, batch_size: int, seed: int) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.batch_size = batch_size
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator)
        batches = []
        for pool in shuffled.split(POOL * self.batch_size):
            batches += pool[self.lengths[pool].argsort(stable=True)].split(self.batch_size)
        # the batch that may be short stays last, or every batch after it would be shifted
        last = [batches.pop()] if len(batches[-1]) < self.batch_size else []
        order = torch.randperm(len(batches), generator=generator).tolist()
        for batch in [batches[i] for i in order] + last:
            yield from batch.tolist()


class TokenBudgetBatches(Sampler[list[int]]):
    """Batches of indices with (longest example x batch size) <= budget, the same number of them in every epoch.

    The examples are sorted by length, equal lengths in a new random order each epoch, and cut from a random place on,
    so that neighbours in length meet in other batches each time; then the batches are shuffled. All depends on seed
    and epoch alone. Unlike LengthBucketSampler, a batch of short examples holds more of them than one of long ones.

    lengths: tokens of every example. multiple_of: batches of one optimiser step over all processes; their number is a
    multiple of it, so that each step is whole, and the same for any split of it into processes and accumulation.
    Raises ConfigError for an example longer than the budget, and for fewer examples than one step has batches.
    """

    def __init__(self, lengths: Sequence[int] | torch.Tensor, budget: int, seed: int, *, multiple_of: int) -> None:
        self.lengths = torch.as_tensor(lengths)
        self.budget = budget
        self.seed = seed
        self.epoch = 0
        examples, longest = len(self.lengths), int(self.lengths.max())
        if longest > budget:
            raise ConfigError(
                f"is less than the longest training example, {longest} tokens",
                argument="tokens_per_batch",
                value=budget,
                hint="raise it, or cut the examples",
                key="sampler.budget",
                longest=longest,
            )
        # a random first cut costs at most one batch more than the fewest possible
        fewest = len(self._cut(self.lengths.sort().values.tolist()))
        self.batches = -(-min(fewest + 1, examples) // multiple_of) * multiple_of
        if self.batches > examples:
            raise ConfigError(
                f"makes steps of {multiple_of} batches, but {examples} training examples cannot fill {self.batches}",
                argument="tokens_per_batch",
                value=budget,
                hint="raise it, or use fewer processes or accumulation steps",
                key="sampler.examples",
            )

    @property
    def mean_size(self) -> float:
        """Examples in a batch, on average."""
        return len(self.lengths) / self.batches

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches the next iteration gives."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + 1_000_003 * self.epoch)
        shuffled = torch.randperm(len(self.lengths), generator=generator)
        order = shuffled[self.lengths[shuffled].argsort(stable=True)]
        lengths = self.lengths[order].tolist()
        first = int(torch.randint(self._size(lengths, 0), (1,), generator=generator)) + 1
        sizes = [first, *self._cut(lengths, start=first)]
        while len(sizes) < self.batches:
            largest = max(range(len(sizes)), key=sizes.__getitem__)
            sizes[largest : largest + 1] = [sizes[largest] // 2, -(-sizes[largest] // 2)]
        batches = order.split(sizes)
        for index in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[index].tolist()

    def _cut(self, lengths: list[int], start: int = 0) -> list[int]:
        """Return the sizes of the fewest batches that cover the ascending lengths from `start` on."""
        sizes = []
        while start < len(lengths):
            sizes.append(self._size(lengths, start))
            start += sizes[-1]
        return sizes

    def _size(self, lengths: list[int], start: int) -> int:
        sizes = range(1, len(lengths) - start + 1)
        return bisect_right(sizes, self.budget, key=lambda size: size * lengths[start + size - 1])


class EndlessShare(IterableDataset):
    """The examples of a stream that one of `world_size` processes reads: each is read by one process in each pass.

    Whole files (shards of the stream) where they can be shared out evenly, else every world_size-th example. Shares
    differ in size, and a process that ended its pass before the others would leave them waiting: so each begins its
    next pass, mixed anew, at once, and the number of steps ends the training.
    """

    def __init__(self, stream: datasets.IterableDataset, rank: int, world_size: int) -> None:
        self.share = split_dataset_by_node(stream, rank=rank, world_size=world_size)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for number in count():
            examples = deepcopy(self.share)  # the epoch of a stream is shared by all processes that load it
            examples.set_epoch(number)
            example = None
            for example in examples:
                yield example
            if example is None:  # nothing here for this loading process
                return
