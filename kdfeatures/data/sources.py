"""Read raw examples: a local copy of a Hub dataset, the Hub itself, or a user's own files.

Local files are read straight into memory, without the builders and the cache of `datasets`: nothing is left
behind, and a file that changed is never answered from an older copy.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pyarrow
import pyarrow.csv
import pyarrow.parquet
from datasets import Dataset, DatasetDict, IterableDatasetDict, load_dataset

from kdfeatures.errors import MissingSplit, UserError
from kdfeatures.evaluation.encoded import no_progress_bars
from kdfeatures.hub import offline_unless_hub_answers
from kdfeatures.tasks.task import FILE_ENDINGS, Task

SHARD = re.compile(r"(?P<split>.+?)(-(?P<number>\d{5})-of-(?P<count>\d{5}))?\.parquet")


def from_folder(task: Task, folder: Path) -> DatasetDict:
    """Read the parquet files of the Hub's layout, `<folder>/<config>/<split>-00000-of-00001.parquet`.

    Splits that are not there are left out. Raises UserError when the folder, the config's folder or all of
    the task's splits are missing, or a shard of a split is.
    """
    inner = folder / task.config if task.config else folder
    if not folder.is_dir():
        raise UserError(f"data.path='{folder}' is not a folder; give the one that holds '{inner.name}'")
    if not inner.is_dir():
        present = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        raise MissingSplit(f"'{folder}' has no folder '{task.config}'; it has {present or 'no folders'}")
    shards: dict[str, list[Path]] = {}
    for path in sorted(inner.glob("?*.parquet")):
        shards.setdefault(_shard(path)["split"], []).append(path)
    splits = [split for split in task.splits.values() if split in shards]
    if not splits:
        raise MissingSplit(
            f"'{inner}' has no parquet file of the splits {', '.join(task.splits.values())} "
            f"(SPLIT-00000-of-00001.parquet); it has {', '.join(shards) or 'none at all'}"
        )
    return DatasetDict({split: _read_shards(shards[split]) for split in splits})


def from_files(task: Task, folder: Path) -> DatasetDict:
    """Read the task's own files, relative to `folder`; raises UserError for one that is missing or broken."""
    files = task.files or {}
    return DatasetDict({split: read_file(folder / path, task.text, "task.files") for split, path in files.items()})


def from_hub(task: Task) -> DatasetDict:
    """Load the dataset from the Hub or the local cache; raises UserError at once when neither has it."""
    assert task.dataset is not None
    return dataset_from_hub(task.dataset, task, streaming=False)


def dataset_from_hub(name: str, task: Task, *, streaming: bool) -> DatasetDict | IterableDatasetDict:
    """The same for any dataset's name, with the task's config and splits, and perhaps as a stream."""
    failed = f"'{name}' ({task.config})"
    try:
        with no_progress_bars(), offline_unless_hub_answers() as answers:
            raw = load_dataset(name, task.config, streaming=streaming)
    except (OSError, ValueError) as error:
        if answers:
            raise UserError(f"{failed} did not load from the Hub: {_first_line(error)}") from error
        raise UserError(
            f"{failed} is not in the local cache and the Hub does not answer; "
            "give a local copy with data.path=FOLDER, or choose a generated task, which needs no data"
        ) from error
    return type(raw)({split: raw[split] for split in task.splits.values() if split in raw})


def _shard(path: Path) -> re.Match[str]:
    match = SHARD.fullmatch(path.name)
    assert match is not None, path  # as for all that end in .parquet and are called something
    return match


def _read_shards(paths: list[Path]) -> Dataset:
    shard = _shard(paths[0])
    if shard["count"] and len(paths) != int(shard["count"]):
        raise UserError(
            f"'{paths[0].parent}' has {len(paths)} of the {int(shard['count'])} files of '{shard['split']}'; "
            "fetch the others"
        )
    # the schema's metadata carry the class names
    return Dataset(pyarrow.concat_tables([_read_parquet(path) for path in paths]))


def read_file(path: Path, text: Sequence[str], option: str) -> Dataset:
    """Read a user's file by its ending, with the columns `text` as text; errors name it and the `option` it is from.

    Raises UserError for a file that is missing, of another ending or broken.
    """
    if not path.is_file():
        raise UserError(f"'{path}' is not a file; check {option}")
    if path.suffix not in FILE_ENDINGS:
        raise UserError(f"'{path}' must end in {', '.join(FILE_ENDINGS)}; check {option}")
    if path.suffix == ".parquet":
        return Dataset(_read_parquet(path))
    if path.suffix == ".csv":
        return Dataset(_read_csv(path, text))
    return Dataset.from_list(_read_records(path))


def _read_parquet(path: Path) -> pyarrow.Table:
    try:
        return pyarrow.parquet.read_table(path)
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"'{path}' is not a parquet file: {_first_line(error)}") from error


def _read_csv(path: Path, text: Sequence[str]) -> pyarrow.Table:
    # told what is text, arrow keeps 12, NA or null as it is; pandas would read a number or nothing
    convert = pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(text, pyarrow.string()))
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    try:
        return pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert)
    except pyarrow.ArrowInvalid as error:
        raise UserError(f"'{path}' is not a CSV file with a header line: {_first_line(error)}") from error


def _read_records(path: Path) -> list[dict]:
    """Read a JSON list of objects, or one object a line."""
    try:
        text = path.read_text(encoding="utf-8")
        records = (
            json.loads(text)
            if text.lstrip().startswith("[")
            else [json.loads(line) for line in text.split("\n") if line.strip()]
        )
    except ValueError as error:
        raise UserError(f"'{path}' is neither a JSON list nor JSON lines: {_first_line(error)}") from error
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise UserError(f"'{path}' must hold one object an example, but entry {number} is {record!r:.40}")
    return records


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]
