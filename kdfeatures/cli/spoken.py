"""What the library logs is what a command says: its messages go to stdout as they are."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Printed(logging.Handler):
    """Prints to what sys.stdout is by then: tests and notebooks replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


@contextmanager
def spoken() -> Iterator[None]:
    """Print the messages of kdfeatures' loggers inside the `with` block, and nothing else than before after it."""
    logger = logging.getLogger("kdfeatures")
    level, propagate = logger.level, logger.propagate
    handler = _Printed()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # Hydra's handler on the root would say it once more
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate
