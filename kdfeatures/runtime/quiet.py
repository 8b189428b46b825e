"""What libraries log while a block runs, kept from the screen where it is said in other words."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def errors_alone(library: str) -> Iterator[None]:
    """Let a library log its errors and no more inside the block."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
