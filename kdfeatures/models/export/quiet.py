"""Keep what exporter and quantiser say to their own developers from the user."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and log entries below ERROR; errors raised inside pass through."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # onnxruntime logs by the root logger, which has no name to silence
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
