"""Which files are meant: one, a list, a pattern such as shards/*.parquet, or a folder."""

from __future__ import annotations

import glob
import logging
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

from kdfeatures.data.files.remote import below, local_copy
from kdfeatures.errors import UserError

logger = logging.getLogger(__name__)

PLAIN_ENDINGS = (".csv", ".tsv", ".json", ".jsonl")
FILE_ENDINGS = (*PLAIN_ENDINGS, ".parquet", *(f"{ending}.gz" for ending in PLAIN_ENDINGS))
TEXT_ENDINGS = (".txt", ".txt.gz")
SHARD = re.compile(r"(?P<split>.+?)(-(?P<number>\d{5})-of-(?P<count>\d{5}))?\.parquet")
SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("dev", "valid", "validation", "val", "eval"),
    "test": ("test", "testing"),
}
ABOUT = ("readme", "license", "licence", "citation", "changelog")  # files about a folder's data
SAVED = (
    "dataset_dict.json",
    "state.json",
)  # in folders that save_to_disk of `datasets` wrote: of several splits, of one


def ending_of(path: PurePath | str, endings: Sequence[str] = FILE_ENDINGS) -> str | None:
    """Return which of the endings a file has, or None."""
    name = str(path).lower()
    return next((ending for ending in sorted(endings, key=len, reverse=True) if name.endswith(ending)), None)


def is_saved_dataset(folder: Path) -> bool:
    """True for a folder that save_to_disk wrote."""
    return any((folder / name).is_file() for name in SAVED)


def is_pattern(path: str) -> bool:
    """True for a path with the signs of a pattern in it, and no such file."""
    return glob.has_magic(path) and not Path(path).exists()


def expand(
    given: str | Sequence[str], folder: str | Path | None, option: str, endings: Sequence[str] = FILE_ENDINGS
) -> list[Path]:
    """Return the files, or the one folder of save_to_disk, that a user's value means; paths start from `folder`.

    Of URLs, and of what starts from one, the local copies; see kdfeatures.data.files.remote.
    Of a folder all files with these endings, but hidden ones, those that begin with `_`, and README and its like.
    Raises UserError where there is none, for a file that is meant twice, and for a folder or pattern whose files are
    of several splits, of several endings, or not all the shards of one table.
    """
    paths: list[Path] = []
    for one in [given] if isinstance(given, str) else given:
        path = Path(local_copy(below(folder, one), option))
        if is_pattern(str(path)):
            files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]
            paths += _together(_known(files, path, option, endings), path, option, endings)
        elif path.is_dir() and not is_saved_dataset(path):
            paths += _together(_known(sorted(path.iterdir()), path, option, endings), path, option, endings)
        elif path.is_file() or path.is_dir():
            if path.is_file() and ending_of(path, endings) is None:
                raise UserError(f"'{path}' must end in {', '.join(endings)}; check {option}")
            paths.append(path)
        else:
            raise UserError(f"'{path}' is not a file; check {option}")
    for path, count in Counter(path.resolve() for path in paths).items():
        if count > 1:
            raise UserError(f"{option} means '{path}' {count} times, so its rows would count {count} times; leave one")
    return paths


def without_pages(paths: Sequence[Path], endings: Sequence[str]) -> list[Path]:
    """Return the files with these endings, but hidden ones, those that begin with `_`, and pages about the others."""
    return [path for path in paths if path.is_file() and is_data(path, endings)]


def is_data(path: PurePath, endings: Sequence[str]) -> bool:
    """True for a file with one of the endings that is neither hidden nor a page about the others, which is said."""
    if path.name.startswith((".", "_")) or ending_of(path, endings) is None:
        return False
    if path.name.lower().startswith(ABOUT):
        logger.info(f"{path} is not read as data.")
        return False
    return True


def _known(paths: Sequence[Path], given: Path, option: str, endings: Sequence[str]) -> list[Path]:
    known = without_pages(paths, endings)
    if not known:
        raise UserError(f"'{given}' holds no file that ends in {', '.join(endings)}; check {option}")
    return known


def _together(paths: list[Path], given: Path, option: str, endings: Sequence[str]) -> list[Path]:
    """Return the files if all may be parts of one table: of one split, one ending, all of its shards."""
    by_split = {split: path for path in reversed(paths) if (split := _split_word(path)) is not None}
    if len(by_split) > 1:
        names = ", ".join(f"{path.name} ({split})" for split, path in sorted(by_split.items()))
        raise UserError(f"'{given}' holds files of several splits: {names}; name those of one, such as "
                        f"{option}=FILE, or a pattern")  # fmt: skip
    by_ending = {str(ending_of(path, endings)).removesuffix(".gz"): path for path in paths}
    if len(by_ending) > 1:
        names = ", ".join(path.name for path in by_ending.values())
        raise UserError(
            f"'{given}' holds files of several endings, such as {names}, which may be the same rows twice; name those "
            f"of one, such as {option}=FILE, or a pattern"
        )
    check_shards(paths, given)
    return paths


def check_shards(paths: Sequence[Path], given: Path) -> None:
    """Raise UserError unless files with names such as train-00001-of-00004.parquet are all there and alone."""
    matches = {path: match for path in paths if (match := SHARD.fullmatch(path.name)) is not None}
    shards = {path: match for path, match in matches.items() if match["count"]}
    for path, match in matches.items():
        same = [other for other, of in shards.items() if of["split"] == match["split"]]
        if same and path not in shards:
            raise UserError(
                f"'{given}' has {path.name} beside {same[0].name}, which may be the same rows twice; move one away"
            )
    counts = Counter((match["split"], int(match["count"]), path.parent) for path, match in shards.items())
    by_split: dict[tuple[str, Path], int] = {}
    for (split, count, folder), there in counts.items():
        if by_split.setdefault((split, folder), count) != count:
            raise UserError(
                f"'{given}' has files of '{split}' that say they are of {count} and of another count; keep one set"
            )
        if there != count:
            raise UserError(f"'{given}' has {there} of the {count} files of '{split}'; fetch the others")


def _split_word(path: Path) -> str | None:
    words = re.split(r"[^a-z]+", path.name.lower())
    return next((split for split, names in SPLIT_WORDS.items() if set(names) & set(words)), None)
