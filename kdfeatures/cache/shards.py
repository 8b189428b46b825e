"""Shards: folders that hold some quantities of some examples, appear whole and never change."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import filelock
import numpy as np
import torch

from kdfeatures.cache.arrays import BrokenFile, open_array, write_array
from kdfeatures.cache.key import DIGEST
from kdfeatures.checksums import hash_of
from kdfeatures.errors import UserError

LOCKS = ".locks"
DIGESTS, LENGTHS = "digests", "lengths"  # files of every shard, beside those of its quantities


@dataclass(frozen=True)
class Shard:
    """A finished shard. starts: the first token of each example in arrays over tokens."""

    path: Path
    digests: np.ndarray
    lengths: np.ndarray
    starts: np.ndarray
    names: frozenset[str]


def shard_name(digests: np.ndarray, names: Iterable[str]) -> str:
    """The name follows from the examples and files, so that writers with the same work write the same shard."""
    return hash_of(digests.tobytes(), " ".join(sorted(names)))


def read_shard(path: Path) -> Shard:
    """Read what a shard holds, but for the features. Raises BrokenFile."""
    try:
        files = list(path.iterdir())
    except OSError as error:
        raise BrokenFile(f"{path} cannot be read ({type(error).__name__})") from error
    link = next((file for file in (path, *files) if file.is_symlink()), None)
    if link is not None:
        raise BrokenFile(f"{link} is a symbolic link")
    digests = open_array(path / DIGESTS, verify=True)[0].numpy()
    lengths = open_array(path / LENGTHS, verify=True)[0].numpy().astype(np.int64)
    names = frozenset(file.name for file in files) - {DIGESTS, LENGTHS}
    if shard_name(digests, names) != path.name:
        raise BrokenFile(f"{path} lacks files, or has some of another shard")
    return Shard(path, digests.view(f"S{DIGEST}").ravel(), lengths, np.cumsum(lengths) - lengths, names)


def shards_in(folder: Path) -> list[Path]:
    """The finished shards of a folder; those being written have names that begin with a dot."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


@contextmanager
def unfinished_shard(folder: Path, name: str) -> Iterator[Path]:
    """Give an empty folder, which becomes the shard when the block ends without an error."""
    unfinished = folder / f".{name}.{uuid.uuid4().hex}"
    unfinished.mkdir()
    try:
        yield unfinished
        _sync(unfinished)
        if not (folder / name).exists():  # else another writer, without locks, was first: both hold the same
            unfinished.rename(folder / name)
            _sync(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


@contextmanager
def new_shard(folder: Path, name: str, digests: np.ndarray, lengths: np.ndarray) -> Iterator[Path]:
    """The same, with its examples in it already: a folder to write the quantities into."""
    with unfinished_shard(folder, name) as unfinished:
        raw = np.frombuffer(digests.tobytes(), np.uint8).reshape(-1, DIGEST)
        write_array(unfinished / DIGESTS, torch.tensor(raw), "uint8")
        write_array(unfinished / LENGTHS, torch.tensor(lengths), "int32")
        yield unfinished


@contextmanager
def locked(folder: Path, name: str, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of a shard name; gives False when another process has it and `wait` is false.

    The operating system drops a lock with its process, so a killed writer leaves none behind.
    """
    locks = folder / LOCKS
    lock = filelock.FileLock(locks / name, timeout=-1 if wait else 0)
    try:
        locks.mkdir(exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        yield False
        return
    except OSError as error:
        raise UserError(f"the teacher cache {folder} cannot be written: {error.strerror}.") from error
    try:
        for leftover in folder.glob(f".{name}.*"):  # of a writer that was killed: the living hold the lock
            shutil.rmtree(leftover, ignore_errors=True)
        yield True
    finally:
        # a process that waits for the file removed here finds the shard finished when it gets its turn
        (locks / name).unlink(missing_ok=True)
        lock.release()


def remove_if_broken(folder: Path, name: str, names: Sequence[str]) -> str | None:
    """Check a shard anew and remove it if it is broken; returns what was wrong. names: the features to check.

    Raises UserError for one that cannot be removed: it would be found broken for ever.
    """
    with locked(folder, name, wait=True):
        try:
            read_shard(folder / name)
            for file in names:
                open_array(folder / name / file, verify=True)
        except BrokenFile as error:
            _remove(folder / name, str(error))
            return str(error)
    return None


def _remove(shard: Path, why: str) -> None:
    try:
        if shard.is_symlink():
            shard.unlink()
        else:
            shutil.rmtree(shard)
    except OSError as error:
        raise UserError(
            f"teacher cache: {why}, and the shard {shard} cannot be removed ({error.strerror}); remove it yourself, or "
            "choose another cache.path."
        ) from error


def _sync(folder: Path) -> None:
    if os.name == "nt":
        return  # Windows cannot open a folder to flush it
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
