"""Whether the files of a folder are those that were written there: a list of checksums, written when all else is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from kdfeatures.files import write_whole

FILE = "checksums.json"  # {name: sha256}


def checksum(file: Path) -> str:
    """Return the sha256 of a file, in hexadecimal digits."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def checksums(folder: Path, files: Iterable[str]) -> dict[str, str]:
    """Return the checksum of each of the files, by name, of those that are there."""
    return {name: checksum(folder / name) for name in sorted(files) if (folder / name).is_file()}


def hash_of(*parts: str | bytes) -> str:
    """Return a hexadecimal hash, of 16 bytes, of texts and bytes one after the other."""
    hashed = hashlib.blake2b(digest_size=16)
    for part in parts:
        hashed.update(part.encode() if isinstance(part, str) else part)
    return hashed.hexdigest()


@cache
def modules_hash(folder: Path) -> str:
    """Return a hash of the Python modules below `folder`: what they made is made anew once one of them changes."""
    return hash_of(*(part for file in sorted(folder.rglob("*.py")) for part in (file.name, file.read_bytes())))


def seal(folder: Path) -> None:
    """Write FILE, the checksums of all other files in `folder`: from then on it is whole.

    Those whose names begin with a dot are not of it: they may be what a killed process left.
    """
    names = [path.name for path in folder.iterdir() if path.is_file() and path.name != FILE]
    names = [name for name in names if not name.startswith(".")]
    write_whole(folder / FILE, json.dumps(checksums(folder, names), indent=2))


def flaw(folder: Path, sums: dict[str, str] | None = None) -> str | None:
    """Return what is wrong with the files of a folder, such as "optimizer.pt is missing"; None when they are whole.

    sums: {name: checksum} of the files that count; None takes those of FILE, which must then be there.
    """
    if sums is None:
        try:
            sums = json.loads((folder / FILE).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return f"{FILE} is missing, so it was not written to its end"
        except (OSError, ValueError):
            return f"{FILE} cannot be read"
        if not isinstance(sums, dict) or not all(isinstance(name, str) and Path(name).name == name for name in sums):
            return f"{FILE} is no list of checksums"
    for name, expected in sums.items():
        file = folder / name
        if file.is_symlink():
            return f"{name} is a symbolic link"
        if not file.is_file():
            return f"{name} is missing"
        try:
            if checksum(file) != expected:
                return f"{name} does not match its checksum"
        except OSError as error:
            return f"{name} cannot be read ({error.strerror})"
    return None
