"""Files behind URLs such as s3://bucket/train.csv, by fsspec: their local copies, fetched when the originals change."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import fsspec

from kdfeatures.errors import UserError, first_line
from kdfeatures.files import unfinished, user_cache, write_whole

LOCK = ".lock"
HERE = "file://"
VERSION = ".version"  # of a copy, behind its hidden name: what tells whether the original has changed


def is_url(path: str) -> bool:
    """True for s3://..., memory://... and all that fsspec knows; file:// counts too."""
    return "://" in path


def is_remote(path: str) -> bool:
    """True for a URL whose files are not on this machine anyway, as those of file:// are."""
    return is_url(path) and not path.startswith(HERE)


def below(folder: str | Path | None, path: str) -> str:
    """Return a path that starts from a folder or URL, None the working folder, unless it is absolute or a URL."""
    if folder is None or is_url(path):
        return path
    return f"{str(folder).rstrip('/')}/{path}" if is_url(str(folder)) else str(Path(folder) / path)


def local_copy(path: str, option: str) -> str:
    """Return where the files that a URL means lie on this machine: a file, a pattern or a folder, as it says itself.

    What is no URL stays as it is. Files that are there are fetched again only when the original has another size, time
    or tag; those whose original is gone, go. Processes of one machine fetch one after the other.
    Raises UserError where there is nothing behind the URL, or nothing can be read there.
    """
    if not is_remote(path):
        return path.removeprefix(HERE)
    with readable(path, option):
        system, root = fsspec.url_to_fs(path)
        copies = _copies_of(path)
        copies.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(copies / LOCK):
            for original in _originals(system, root, path, option):
                _fetch(system, original, copies / original.lstrip("/"))
            _forget(system, root, copies)
    return str(copies / root.lstrip("/"))


def urls_of(url: str, option: str) -> list[str]:
    """Return the URLs of the files that a URL means; raises UserError as `local_copy` does."""
    with readable(url, option):
        system, root = fsspec.url_to_fs(url)
        return [system.unstrip_protocol(path) for path in _originals(system, root, url, option)]


def _originals(system: Any, root: str, url: str, option: str) -> list[str]:
    """Return the files that a path of a file system means: itself, those that match it, or all of a folder."""
    system.invalidate_cache()  # or what was there a moment ago counts
    if fsspec.core.has_magic(root) and not system.exists(root):
        paths = [path for path in system.glob(root) if system.isfile(path)]
    else:
        paths = system.find(root)
    if not paths:
        raise UserError(f"'{url}' is not a file, nor a folder with files; check {option}")
    return sorted(paths)


def copies_at(path: str) -> Path:
    """Return the folder on this machine that a path means, or that has the copies of what lies behind a URL."""
    if not is_remote(path):
        return Path(path.removeprefix(HERE)).expanduser()
    return _copies_of(path) / path.partition("://")[2].strip("/")


def _copies_of(url: str) -> Path:
    return user_cache() / "remote" / url.partition("://")[0].replace(":", "_")


@contextlib.contextmanager
def readable(url: str, option: str) -> Iterator[None]:
    """Turn what a remote file system raises inside the block into a UserError in one line."""
    try:
        yield
    except ImportError as error:  # of the package that fsspec needs for this protocol
        raise UserError(
            f"{option}={url}: {first_line(error).rstrip('.')}; for s3://, pip install 'kdfeatures[s3]'."
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"{option}={url} is not written in {error.encoding}; name its encoding as task.encoding."
        ) from error
    except ValueError as error:  # an unknown protocol
        raise UserError(f"{option}={url}: {first_line(error).rstrip('.')}.") from error
    except OSError as error:
        raise UserError(f"{option}={url} cannot be reached or read: {first_line(error).rstrip('.')}.") from error


def _fetch(system: Any, original: str, copy: Path) -> None:
    version, note = str(system.ukey(original)), _version_of(copy)
    if copy.is_file() and note.is_file() and note.read_text(encoding="utf-8").strip() == version:
        return
    copy.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(copy) as path:
        system.get_file(original, str(path))
    write_whole(note, version)


def _forget(system: Any, root: str, copies: Path) -> None:
    """Remove copies below a folder, or of a pattern, whose originals are gone."""
    folder = root.rpartition("/")[0] if fsspec.core.has_magic(root) or system.isfile(root) else root
    for note in list((copies / folder.lstrip("/")).rglob(f".*{VERSION}")):
        copy = note.with_name(note.name.removeprefix(".").removesuffix(VERSION))
        if not system.exists(copy.relative_to(copies).as_posix()):
            copy.unlink(missing_ok=True)
            note.unlink()


def _version_of(copy: Path) -> Path:
    return copy.with_name(f".{copy.name}{VERSION}")
