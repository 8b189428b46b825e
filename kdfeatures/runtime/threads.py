"""How many of torch's threads a training takes: on more than one, small models wait for one another's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

# Operations of a training step: below, the second of two threads saves up to a quarter of the time on an idle machine,
# and multiplies it by more than three beside a busy core (benchmarks/threads.py, docs/speed.md).
SMALL_STEP = 1e9


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """Let torch compute on so many threads inside the `with` block; None leaves them as they are."""
    before = torch.get_num_threads()
    torch.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_for(operations: float) -> int | None:
    """Return 1 for a training step of few operations, and None, as many as torch has, for a larger one.

    Beside other work a step on two threads waits for whichever was put aside.
    """
    return 1 if operations < SMALL_STEP else None
