"""Batches of like length, in an order that depends on seed and epoch alone.

The Trainer's own group_by_length draws its order from the global generator, so a run resumed after its first epoch
sees other batches than the uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.data import Sampler

POOL = 50  # batches sorted together: large enough for little padding, small enough to mix


class LengthBucketSampler(Sampler[int]):
    """Indices so that each run of `batch_size` has like lengths; examples and batches are shuffled every epoch.

    lengths: tokens of every example. batch_size: of one optimiser step over all processes, so that the order is the
    same for any number of them.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
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
