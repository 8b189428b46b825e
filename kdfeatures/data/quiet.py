"""Silence for steps that take no time worth a progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars


@contextmanager
def no_progress_bars(when: bool = True) -> Iterator[None]:
    """Switch off the bars of `datasets` inside the block if `when`, and leave them as they were."""
    if not when or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
