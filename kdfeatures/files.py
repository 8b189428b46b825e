"""Text files that appear at once, folders that one run at a time writes to, and errors of a full disk in one line."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import shutil
import unicodedata
import uuid
from collections.abc import Iterator
from pathlib import Path

import filelock

try:
    import fcntl
except ImportError:  # no Unix: leftovers of killed processes stay
    fcntl = None  # type: ignore[assignment]

from kdfeatures.errors import UserError

LOCK = ".lock"
UNFINISHED = 32 * "[0-9a-f]"
FULL = (errno.ENOSPC, errno.EDQUOT)
# what libraries say that do not pass on the system's error number
SAID_OF_FULL = ("No space left on device", "Disk quota exceeded", "os error 28")
SAID_PERHAPS = ("PytorchStreamWriter failed", "inline_container.cc", "iostream error")  # of that among others
MIB = 2**20


def user_cache() -> Path:
    """Return the folder for what can be made or fetched again: copies of remote files, tokenised texts, answers.

    It is $KDFEATURES_CACHE, or kdfeatures-data in $XDG_CACHE_HOME, or in ~/.cache. The teacher's features have a folder
    of their own, which has a limit.
    """
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(os.environ.get("KDFEATURES_CACHE") or f"{home}/kdfeatures-data").expanduser()


def write_whole(file: Path, text: str) -> None:
    """Write a line or several to `file`, and a line end behind them; see `unfinished`."""
    with unfinished(file) as path:
        path.write_text(text + "\n", encoding="utf-8")


@contextlib.contextmanager
def unfinished(file: Path) -> Iterator[Path]:
    """Give an empty file that becomes `file` when the block ends, and goes when it ends by an error.

    A reader sees the old file or the new one, never half of it; so it is after a crash. Several processes may write the
    same file. What killed ones have left of it is removed: a living one holds a lock.
    """
    for leftover in file.parent.glob(f".{glob.escape(file.name)}.{UNFINISHED}"):
        _remove_unless_locked(leftover)
    path, held = _locked_file(file)
    try:
        yield path
        os.fsync(held)
        path.replace(file)
    finally:
        path.unlink(missing_ok=True)
        os.close(held)


def _locked_file(file: Path) -> tuple[Path, int]:
    while True:
        path = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        held = os.open(path, os.O_CREAT | os.O_RDWR, 0o666)
        if fcntl is not None:
            with contextlib.suppress(OSError):  # of a file system without locks, where leftovers stay, too
                fcntl.flock(held, fcntl.LOCK_EX)
        if path.exists():
            return path, held
        os.close(held)  # another process took it for a leftover before it was locked


def _remove_unless_locked(path: Path) -> None:
    if fcntl is None:
        return
    with contextlib.suppress(OSError), path.open("rb") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes from writing to `folder` in the block, which is made; raises UserError if one does so now.

    The operating system drops the lock with its process, so a killed run leaves none behind. Folders that were made for
    it, and are empty after the block, go again.
    """
    made = [path for path in (folder, *folder.absolute().parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / LOCK, timeout=0)
        lock.acquire()
        if not (folder / LOCK).exists():  # a run that ended in this moment has removed it
            lock.release()
            lock.acquire()
    except filelock.Timeout as error:
        raise UserError(
            f"output_dir={folder}: another run is writing there now; wait for its end, or choose another folder."
        ) from error
    except OSError as error:
        raise UserError(f"output_dir={folder} cannot be written: {error.strerror}.") from error
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        lock.release()
        with contextlib.suppress(OSError):  # of one that is not empty
            for path in made:
                path.rmdir()


def harmless(text: str) -> str:
    """Return a text with a mark for each sign that a terminal or a parser acts on; ends of lines and tabs stay."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(sign) == "Cc" and sign not in "\t\n\r" else sign
        for sign in text
    )


def disk_full(error: BaseException, folder: Path) -> str | None:
    """Return a sentence on the space that is left when `error`, or what it came from, is that of a full disk.

    folder: where the run writes, or a folder that it would make.
    """
    chain: BaseException | None = error
    while chain is not None:
        file = getattr(chain, "filename", None)
        place = Path(file) if isinstance(file, str) else folder
        existing = next(path for path in (place, *place.absolute().parents) if path.exists())
        free = shutil.disk_usage(existing).free / MIB
        is_full = (isinstance(chain, OSError) and chain.errno in FULL) or _says(chain, SAID_OF_FULL)
        if is_full or (free < 1 and _says(chain, SAID_PERHAPS)):
            return f"no space is left at {place} ({free:.0f} MiB free)"
        chain = chain.__cause__ or chain.__context__
    return None


def _says(error: BaseException, texts: tuple[str, ...]) -> bool:
    return any(text in str(error) for text in texts)
