"""Read raw examples: a local copy of a Hub dataset, the Hub itself, or a user's own files.

Local files are read straight into memory, without the builders and the cache of `datasets`: nothing is left
behind, and a file that changed is never answered from an older copy.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from datasets import DatasetDict, IterableDatasetDict, load_dataset
from huggingface_hub import constants

from kdfeatures.data.files import (
    SHARD,
    Columns,
    FileFormat,
    check_shards,
    is_saved_dataset,
    load_saved,
    read_files,
    read_parts,
)
from kdfeatures.errors import MissingSplit, UserError, first_line
from kdfeatures.evaluation.encoded import no_progress_bars
from kdfeatures.hub.data import remember_commit
from kdfeatures.hub.reach import offline, offline_unless_hub_answers, silence
from kdfeatures.runtime.quiet import errors_alone
from kdfeatures.tasks.task import Task

logger = logging.getLogger(__name__)

ID = "idx"  # what GLUE calls the ids of its examples


def from_folder(task: Task, folder: Path) -> DatasetDict:
    """Read the parquet files of the Hub's layout, `<folder>/<config>/<split>-00000-of-00001.parquet`.

    Splits that are not there are left out. Raises UserError when the folder, the config's folder or all of
    the task's splits are missing, or a shard of a split is.
    """
    inner = folder / task.config if task.config else folder
    for saved in (inner, folder):
        if is_saved_dataset(saved):
            return _of_saved(task, saved)
    if not folder.is_dir():
        raise UserError(f"data.path='{folder}' is not a folder; give the one that holds '{inner.name}'")
    if not inner.is_dir():
        present = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir()))
        raise MissingSplit(f"'{folder}' has no folder '{task.config}'; it has {present or 'no folders'}")
    shards: dict[str, list[Path]] = {}
    for path in sorted(inner.glob("[!._]*.parquet")):
        match = SHARD.fullmatch(path.name)
        shards.setdefault(match["split"] if match else path.stem, []).append(path)
    splits = [split for split in task.splits.values() if split in shards]
    if not splits:
        raise MissingSplit(
            f"'{inner}' has no parquet file of the splits {', '.join(task.splits.values())} "
            f"(SPLIT-00000-of-00001.parquet); it has {', '.join(shards) or 'none at all'}"
        )
    check_shards([path for split in splits for path in shards[split]], inner)
    return DatasetDict({split: read_parts(shards[split], read_columns(task), "data.path") for split in splits})


def from_files(task: Task, folder: str | Path | None, ids: Sequence[str] = ()) -> DatasetDict:
    """Read the task's own files, relative to `folder`; raises UserError for one that is missing or broken.

    ids: columns that are read beside the task's own, as they are written.
    """
    columns, layout = read_columns(task, ids), format_of(task)
    return DatasetDict(
        {
            split: read_files(given, folder, columns, f"task.files.{split}", layout, split)
            for split, given in (task.files or {}).items()
        }
    )


def read_columns(task: Task, ids: Sequence[str] = ()) -> Columns:
    """Return which columns of a file a task reads, and which are text whatever they look like."""
    has_names = task.kind in ("sequence", "tokens", "multilabel") and not task.is_regression
    needed = (*task.data_columns, *ids, ID)
    return Columns((*(task.data_columns if has_names else task.text), *ids, ID), needed)


def format_of(task: Task) -> FileFormat:
    """Return how a task's files are written."""
    return FileFormat(task.delimiter, task.encoding, task.quotes)


def from_hub(task: Task, revision: str | None = None) -> DatasetDict:
    """Load the dataset from the Hub or the local cache; raises UserError at once when neither has it."""
    assert task.dataset is not None
    return dataset_from_hub(task.dataset, task, streaming=False, revision=revision)


def dataset_from_hub(
    name: str, task: Task, *, streaming: bool, revision: str | None = None
) -> DatasetDict | IterableDatasetDict:
    """The same for any dataset's name, with the task's config and splits, and perhaps as a stream.

    Without a revision what the local cache has is taken as it is, and nothing is asked; a stream is read from the Hub.
    """
    raw = None if streaming or revision is not None else _of_cache(name, task.config)
    if raw is None:
        raw = _asked(name, task.config, streaming=streaming, revision=revision)
    remember_commit(name, revision, raw)
    return type(raw)({split: raw[split] for split in task.splits.values() if split in raw})


def _of_cache(name: str, config: str | None) -> DatasetDict | None:
    try:
        with no_progress_bars(), offline(), errors_alone("datasets"):
            raw = load_dataset(name, config)
    except (OSError, ValueError, RuntimeError):  # it is not there, and the Hub is asked; what is wrong shows then
        return None
    logger.info(f"{name}: read from the local cache as it is there; data.revision=main takes the newest of the Hub.")
    return raw


def _asked(
    name: str, config: str | None, *, streaming: bool, revision: str | None
) -> DatasetDict | IterableDatasetDict:
    failed = f"'{name}' ({config})"
    try:
        with offline_unless_hub_answers() as answers:
            if revision is not None and not answers:  # datasets would take any revision that is in the cache
                raise ConnectionError
            return load_dataset(name, config, streaming=streaming, revision=revision)
    except RuntimeError as error:  # of a dataset that is a script: datasets runs none
        raise UserError(f"{failed} cannot be loaded: {first_line(error)}") from error
    except (OSError, ValueError) as error:
        if answers:
            raise UserError(
                f"{failed} did not load from the Hub at {constants.ENDPOINT}: {first_line(error)}"
            ) from error
        if revision is not None:
            raise UserError(
                f"data.revision={revision} of {failed} is asked of the Hub, but {silence()}; leave it out to take what "
                "is in the local cache"
            ) from error
        raise UserError(
            f"{failed} is not in the local cache, and {silence()}; "
            "give a local copy with data.path=FOLDER, or choose a generated task, which needs no data"
        ) from error


def _of_saved(task: Task, folder: Path) -> DatasetDict:
    saved = load_saved(folder, f"data.path={folder}")
    if not isinstance(saved, DatasetDict):
        raise UserError(
            f"data.path='{folder}' holds one split that save_to_disk wrote, but a task has several; save a "
            "DatasetDict, or name it as task.files.train of task=files"
        )
    splits = [split for split in task.splits.values() if split in saved]
    if not splits:
        raise MissingSplit(f"'{folder}' holds the splits {', '.join(saved)}, none of {', '.join(task.splits.values())}")
    return DatasetDict({split: saved[split] for split in splits})
