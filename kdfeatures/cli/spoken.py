"""What the library logs is what a command says: its messages go to stdout as they are."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

LIBRARIES = ("httpx", "httpx2", "httpcore", "huggingface_hub", "urllib3", "filelock")  # a line for every request


class _Printed(logging.Handler):
    """Prints to what sys.stdout is by then: tests and notebooks replace it."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), flush=True)


def quiet_libraries() -> None:
    """Let libraries log what went wrong alone, and show no bars but those of downloads, as far as they are loaded."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.WARNING)
    if "transformers" in sys.modules:
        from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
        from transformers.utils.logging import disable_progress_bar

        shows = not are_progress_bars_disabled()
        disable_progress_bar()  # of loading and saving weights; with them, those of downloads
        if shows:
            enable_progress_bars()


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
