"""How a command ends: by a signal or a refused write in one line, and its process without taking itself apart."""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from kdfeatures.errors import Stopped, UserError, stop_at_once
from kdfeatures.files import disk_full
from kdfeatures.training.distributed import process_count

REFUSED = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO)
BROKEN_PIPE = 120  # the exit status of Python when its last output cannot be written


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


def end_process(status: int) -> NoReturn:
    """End this process with an exit status as Python would, but leave what the libraries have made to the system.

    Freeing it object by object takes a second once torch and transformers are imported, as long as many a command
    computes. Threads are waited for, what is registered with `atexit` is run, and output is flushed. One of several
    processes ends in Python's own way, which those that started them may wait for.
    """
    if process_count() > 1:
        sys.exit(status)
    threads: Any = threading
    threads._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever was reading has gone
        status = BROKEN_PIPE
    os._exit(status)
