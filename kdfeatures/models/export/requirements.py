"""The optional packages that an export needs, and how to keep what they say to their own developers from the user."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from kdfeatures.errors import UserError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def require_packages() -> None:
    """Raise UserError unless all packages of the extra `export` are installed."""
    missing = [name for name in PACKAGES if find_spec(name) is None]
    if missing:
        raise UserError(f"an export needs {', '.join(missing)}; pip install kdfeatures[export]")


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
