"""Read text without labels: a file, a folder of files, or a Hub dataset; into memory or as a stream."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict, concatenate_datasets, load_dataset

from kdfeatures.data import sources
from kdfeatures.data.files import ending_of, read_file, read_text
from kdfeatures.data.files.find import TEXT_ENDINGS
from kdfeatures.errors import UserError, nearest
from kdfeatures.evaluation.encoded import no_progress_bars
from kdfeatures.tasks.task import Task

BUILDERS = {".txt": "text", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
ENDINGS = (*BUILDERS, ".txt.gz", ".json.gz", ".jsonl.gz")
Texts: TypeAlias = Dataset | IterableDataset


def load_text(task: Task, path: str | None, *, streaming: bool) -> DatasetDict | IterableDatasetDict:
    """Return the splits of a text task that are there, with its text column alone and without blank texts.

    path: data.path. Raises UserError when there is no such file, folder or dataset, or no text column in it.
    """
    if path is None:
        raise UserError(f"task '{task.name}' needs text: give data.path=FILE, FOLDER or HUB_ID.")
    if Path(path).exists():
        splits = _of_files(task, Path(path), streaming=streaming)
    else:
        splits = sources.dataset_from_hub(path, task, streaming=streaming)
    text_splits = {split: _texts(texts, task, f"split '{split}' of {path}") for split, texts in splits.items()}
    if not text_splits:
        raise UserError(f"data.path={path} holds none of the splits {', '.join(task.splits)}.")
    return IterableDatasetDict(text_splits) if streaming else DatasetDict(text_splits)


def held_out(splits: Mapping[str, Texts], task: Task) -> Mapping[str, Texts]:
    """Return the splits, with a validation split made of training texts if they have none.

    In memory they are spread evenly over the training texts; of a stream they are the first ones.
    """
    train, validation, count = task.splits["train"], task.splits["validation"], task.text_reading.held_out
    if validation in splits or train not in splits or not count:
        return splits
    whole = splits[train]
    if isinstance(whole, IterableDataset):
        return {**splits, train: whole.skip(count), validation: whole.take(count)}
    if len(whole) <= count:
        raise UserError(
            f"task.reading.held_out={count} leaves nothing of {len(whole)} training texts; lower it, or give a file "
            "whose name begins with 'validation'."
        )
    chosen = {number * len(whole) // count for number in range(count)}
    rest = [row for row in range(len(whole)) if row not in chosen]
    return {**splits, train: whole.select(rest), validation: whole.select(sorted(chosen))}


def in_memory(texts: Texts) -> Dataset:
    """Return a split, all of it read."""
    return Dataset.from_list(list(texts)) if isinstance(texts, IterableDataset) else texts


def _of_files(task: Task, path: Path, *, streaming: bool) -> dict[str, Texts]:
    files = [path] if path.is_file() else sorted(file for file in path.rglob("[!._]*") if ending_of(file, ENDINGS))
    if not files or any(ending_of(file, ENDINGS) is None for file in files):
        raise UserError(f"data.path={path} holds no text; it takes files that end in {', '.join(ENDINGS)}.")
    by_split: dict[str, list[Path]] = {}
    for file in files:
        split = next((split for split in ("validation", "test") if file.name.startswith(split)), "train")
        by_split.setdefault(task.splits[split], []).append(file)
    read = _stream if streaming else _read
    return {split: read(paths, task) for split, paths in by_split.items()}


def _read(files: Iterable[Path], task: Task) -> Dataset:
    (column,) = task.text
    parts = []
    for file in files:
        if ending_of(file, TEXT_ENDINGS):
            part = Dataset.from_dict({column: read_text(file, task.encoding, "task.encoding").split("\n")})
        else:
            part = read_file(file, sources.read_columns(task), "data.path", sources.format_of(task))
        parts.append(_column_of(part, column, f"'{file}'"))
    return concatenate_datasets(parts)


def _stream(files: Iterable[Path], task: Task) -> IterableDataset:
    by_builder: dict[str, list[str]] = {}
    for file in files:
        ending = str(ending_of(file, ENDINGS)).removesuffix(".gz")
        by_builder.setdefault(BUILDERS[ending], []).append(str(file))
    (column,) = task.text
    parts = []
    for builder, data_files in by_builder.items():
        encoding = {"encoding": task.encoding} if builder == "text" and task.encoding else {}
        part = load_dataset(builder, data_files=data_files, split="train", streaming=True, **encoding)
        if builder == "text" and column != "text":
            part = part.rename_column("text", column)
        parts.append(_column_of(part, column, f"'{data_files[0]}'"))
    return concatenate_datasets(parts)


def _texts(texts: Texts, task: Task, where: str) -> Texts:
    (column,) = task.text
    rows = _column_of(texts, column, where)
    with no_progress_bars():
        return rows.filter(_is_text, input_columns=[column])


def _is_text(text: str | None) -> bool:
    return text is not None and not text.isspace() and text != ""


def _column_of(texts: Texts, column: str, where: str) -> Texts:
    names = texts.column_names
    if names is None:  # a stream that does not know before it has begun
        names = list(next(iter(texts), {column: ""}))
    if column not in names:
        raise UserError(
            f"{where} has no column '{column}'{nearest(column, names)} (it has {', '.join(names)}); "
            "name it with task.text=[...]."
        )
    kind = texts.features[column] if texts.features else None
    if kind is not None and "string" not in getattr(kind, "dtype", "nested"):
        raise UserError(f"column '{column}' of {where} must hold text, but holds {getattr(kind, 'dtype', 'lists')}.")
    return texts.select_columns([column])
