"""How a command ends that could not do its work: by a signal, or because the system refused a write. One line each."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdfeatures.errors import Stopped, UserError, stop_at_once
from kdfeatures.files import disk_full

REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)


@contextmanager
def signals_in_one_line() -> Iterator[None]:
    """Exit with 130 for Ctrl-C and 143 for SIGTERM, after one line that says what is saved."""
    before = signal.signal(signal.SIGTERM, stop_at_once)
    try:
        yield
    except KeyboardInterrupt as error:
        number = error.signal if isinstance(error, Stopped) else int(signal.SIGINT)
        saved = isinstance(error, Stopped) and error.saved
        what = "a checkpoint of the last step is saved; " if saved else ""
        name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        print(f"kdfeatures: stopped by {name}; {what}go on with existing=resume.", file=sys.stderr, flush=True)
        sys.exit(128 + number)
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def system_errors_in_one_line(folder: Path) -> Iterator[None]:
    """Turn the error of a full disk, or of a write that the system refuses, into a UserError. folder: the run's."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        full = disk_full(error, folder)
        if full is not None:
            raise UserError(
                f"{full}; what was there before is whole. Free some, and go on with existing=resume."
            ) from error
        if isinstance(error, OSError) and error.errno in REFUSED and error.filename is not None:
            home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface")).expanduser()
            hint = "; set HF_HOME to a folder that you may write to" if home.is_relative_to(str(error.filename)) else ""
            raise UserError(f"{error.filename} cannot be read or written: {error.strerror}{hint}.") from error
        raise
