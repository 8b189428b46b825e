"""Read text without labels: a file, a folder of files, or a Hub dataset; into memory or as a stream."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import TypeAlias

from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict, concatenate_datasets, load_dataset

from kdfeatures.data import sources
from kdfeatures.data.files import (
    check_text,
    ending_of,
    is_data,
    is_pattern,
    is_saved_dataset,
    is_url,
    load_saved,
    local_copy,
    read_file,
    read_text,
    stream_of_urls,
    urls_of,
    without_pages,
)
from kdfeatures.data.files.find import TEXT_ENDINGS
from kdfeatures.errors import UserError, nearest
from kdfeatures.evaluation.encoded import no_progress_bars
from kdfeatures.tasks.task import Task

BUILDERS = {".txt": "text", ".json": "json", ".jsonl": "json", ".parquet": "parquet"}
ENDINGS = (*BUILDERS, ".txt.gz", ".json.gz", ".jsonl.gz")
Texts: TypeAlias = Dataset | IterableDataset


def load_text(
    task: Task, path: str | None, *, streaming: bool, revision: str | None = None
) -> DatasetDict | IterableDatasetDict:
    """Return the splits of a text task that are there, with its text column alone and without blank texts.

    path: data.path: a file, a pattern, a folder of files or of save_to_disk, or a Hub dataset, of which revision: is a
    branch, a tag or a commit. Raises UserError when
    there is none such, or no text column in it.
    """
    if path is None:
        raise UserError(f"task '{task.name}' needs text: give data.path=FILE, FOLDER or HUB_ID.")
    splits: Mapping[str, Texts]
    if is_url(path) and not streaming:
        path = local_copy(path, "data.path")
    if is_saved_dataset(Path(path)):
        splits = _of_saved(task, Path(path), streaming=streaming)
    elif is_url(path) or Path(path).exists() or is_pattern(path):
        splits = _of_files(task, path, streaming=streaming)
    else:
        splits = sources.dataset_from_hub(path, task, streaming=streaming, revision=revision)
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


def _of_saved(task: Task, folder: Path, *, streaming: bool) -> dict[str, Texts]:
    saved = load_saved(folder, "data.path")
    splits = saved if isinstance(saved, DatasetDict) else {task.splits["train"]: saved}
    there = {split: splits[split] for split in task.splits.values() if split in splits}
    return {split: texts.to_iterable_dataset() if streaming else texts for split, texts in there.items()}


def _of_files(task: Task, given: str, *, streaming: bool) -> dict[str, Texts]:
    files = _files_at(given)
    if not files:
        raise UserError(f"data.path={given} holds no text; it takes files that end in {', '.join(ENDINGS)}.")
    by_split: dict[str, list[str]] = {}
    for file in files:
        name = PurePosixPath(file).name
        split = next((split for split in ("validation", "test") if name.startswith(split)), "train")
        by_split.setdefault(task.splits[split], []).append(file)
    read = _stream if streaming else _read
    return {split: read(paths, task) for split, paths in by_split.items()}


def _files_at(given: str) -> list[str]:
    """Return the files of text that a path or a URL means."""
    if is_url(given):
        return [file for file in urls_of(given, "data.path") if is_data(PurePosixPath(file), ENDINGS)]
    path = Path(given)
    if path.is_file():
        return [given] if ending_of(path, ENDINGS) else []
    paths = path.rglob("*") if path.is_dir() else map(Path, glob.glob(given, recursive=True))
    return list(map(str, without_pages(sorted(paths), ENDINGS)))


def _read(files: Iterable[str], task: Task) -> Dataset:
    (column,) = task.text
    parts = []
    for file in map(Path, files):
        if ending_of(file, TEXT_ENDINGS):
            part = Dataset.from_dict({column: read_text(file, task.encoding, "task.encoding").split("\n")})
        else:
            part = read_file(file, sources.read_columns(task), "data.path", sources.format_of(task))
        parts.append(_column_of(part, column, f"'{file}'"))
    return concatenate_datasets(parts)


def _stream(files: Iterable[str], task: Task) -> IterableDataset:
    by_builder: dict[tuple[str, str | None], list[str]] = {}
    remote: list[str] = []
    for file in files:
        ending = str(ending_of(file, ENDINGS)).removesuffix(".gz")
        if is_url(file) and ending != ".parquet":
            remote.append(file)
            continue
        encoding = None if ending == ".parquet" else check_text(Path(file), task.encoding, "task.encoding")
        by_builder.setdefault((BUILDERS[ending], encoding), []).append(file)
    (column,) = task.text
    parts = [stream_of_urls(remote, column, task.encoding)] if remote else []
    for (builder, encoding), data_files in by_builder.items():
        options = {} if encoding is None else {"encoding": encoding}
        part = load_dataset(builder, data_files=data_files, split="train", streaming=True, **options)
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
