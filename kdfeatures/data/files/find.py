"""Which files are meant: one, a list, a pattern such as shards/*.parquet, or a folder."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from kdfeatures.errors import UserError

PLAIN_ENDINGS = (".csv", ".tsv", ".json", ".jsonl")
FILE_ENDINGS = (*PLAIN_ENDINGS, ".parquet", *(f"{ending}.gz" for ending in PLAIN_ENDINGS))
TEXT_ENDINGS = (".txt", ".txt.gz")
SAVED = (
    "dataset_dict.json",
    "state.json",
)  # in folders that save_to_disk of `datasets` wrote: of several splits, of one


def ending_of(path: Path | str, endings: Sequence[str] = FILE_ENDINGS) -> str | None:
    """Return which of the endings a file has, or None."""
    name = str(path).lower()
    return next((ending for ending in sorted(endings, key=len, reverse=True) if name.endswith(ending)), None)


def is_saved_dataset(folder: Path) -> bool:
    """True for a folder that save_to_disk wrote."""
    return any((folder / name).is_file() for name in SAVED)


def is_pattern(path: str) -> bool:
    """True for a path with the signs of a pattern in it, and no such file."""
    return glob.has_magic(path) and not Path(path).exists()


def expand(given: str | Sequence[str], folder: Path, option: str, endings: Sequence[str] = FILE_ENDINGS) -> list[Path]:
    """Return the files, or the one folder of save_to_disk, that a user's value means; paths start from `folder`.

    Of a folder all files with these endings, but hidden ones and those that begin with `_`. Raises UserError where
    there is none.
    """
    paths: list[Path] = []
    for one in [given] if isinstance(given, str) else given:
        path = folder / one
        if is_pattern(str(path)):
            paths += _known(
                [Path(name) for name in sorted(glob.glob(str(path), recursive=True))], path, option, endings
            )
        elif path.is_dir() and not is_saved_dataset(path):
            paths += _known(sorted(path.iterdir()), path, option, endings)
        elif path.is_file() or path.is_dir():
            if path.is_file() and ending_of(path, endings) is None:
                raise UserError(f"'{path}' must end in {', '.join(endings)}; check {option}")
            paths.append(path)
        else:
            raise UserError(f"'{path}' is not a file; check {option}")
    return paths


def _known(paths: Sequence[Path], given: Path, option: str, endings: Sequence[str]) -> list[Path]:
    known = [
        path
        for path in paths
        if path.is_file() and not path.name.startswith((".", "_")) and ending_of(path, endings) is not None
    ]
    if not known:
        raise UserError(f"'{given}' holds no file that ends in {', '.join(endings)}; check {option}")
    return known
