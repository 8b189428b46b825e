"""From a task to model inputs: load its splits, check them, tokenise them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from kdfeatures.data import sources
from kdfeatures.data.files import below, is_url, local_copy
from kdfeatures.errors import MissingSplit, UserError
from kdfeatures.evaluation.encoded import token_counts
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.tokenization.kept import kept

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE = 1000
DATA_SEED = 0  # of generated tasks: all runs see the same data, whatever their own seed


def load_task(
    task: Task,
    path: str | None = None,
    *,
    revision: str | None = None,
    seed: int = DATA_SEED,
    ids: Sequence[str] = (),
) -> DatasetDict:
    """Load the splits of a task, under the data's own names for them.

    path: a local copy in the Hub's layout; for a task of the user's files, the folder their paths start from;
    None takes the Hub and the working folder. revision: of data on the Hub; see DataSettings. seed: for generated tasks
    only. ids: columns of the user's files that are read beside the task's own, as they are written.
    Labels come as the task's kind has them; names in a text column become ids.
    Splits may be missing: `split_of` says so. Raises UserError for missing folders, files and columns, for
    labels outside the task's, and, at once, for a Hub that does not answer.
    """
    if revision is not None and (task.embedded or task.files or path is not None):
        raise UserError(f"data.revision={revision} is of data on the Hub, of which task '{task.name}' reads none.")
    if task.embedded:
        if path is not None:
            raise UserError(f"task '{task.name}' is generated; leave out data.path='{path}'")
        from kdfeatures.data.synthetic import load

        raw = load(task.embedded, seed)
    elif task.files:
        raw = sources.from_files(task, path, ids)
    elif path is not None:
        raw = sources.from_folder(task, Path(_with_config(path, task)))
    else:
        raw = sources.from_hub(task, revision)
    kind = task_type(task)
    if task.has_labels:
        train = task.splits.get("train")
        raw = DatasetDict({split: kind.with_labels(examples, task) for split, examples in raw.items()})
        raw = DatasetDict({split: with_label_column(raw[split], task, split, is_train=split == train) for split in raw})
    return DatasetDict({split: kind.checked(examples, task, split) for split, examples in raw.items()})


def _with_config(path: str, task: Task) -> str:
    """Return the folder of the Hub's layout; of a URL the local copy, of no more than the task's part of it."""
    if not is_url(path):
        return path
    if task.config is None:
        return local_copy(path, "data.path")
    return str(Path(local_copy(below(path, task.config), "data.path")).parent)


def with_label_column(examples: Dataset, task: Task, split: str, *, is_train: bool) -> Dataset:
    """Return a split that has the task's label column: all hidden where its file has none, and nobody trains on it."""
    if is_train and task_type(task).labels_train or task.label_column in examples.column_names:
        return examples
    hidden = task_type(task).hidden_labels(examples, task)
    if is_train:
        return examples.add_column(task.label_column, hidden)
    names = ", ".join(examples.column_names)
    logger.info(
        f"{task.name}: split '{split}' has no column '{task.label_column}' (it has {names}), so it is not scored."
    )
    return examples.add_column(task.label_column, hidden)


def split_of(datasets: DatasetDict, task: Task, split: str) -> Dataset:
    """Return what the task calls `split` (train, validation, ...); raises UserError when it is missing."""
    if split not in task.splits:
        hint = "; data.held_out=0.1 makes one of the training examples" if split == "selection" else ""
        if split in ("train", "validation") and task.files:
            hint = f"; give task.files.{split}=FILE"
            hint += ", or data.held_out=0.1 for a share of the training examples" if split == "validation" else ""
        raise UserError(f"task '{task.name}' has no split '{split}'; it has {', '.join(task.splits)}{hint}")
    name = task.splits[split]
    if name not in datasets:
        available = ", ".join(datasets)
        if split == "validation" and task.files:
            available += "; give task.files.validation=FILE, or data.held_out=0.1 for a share of the training examples"
        raise MissingSplit(f"the data of task '{task.name}' lack the split '{name}'; there is {available}")
    return datasets[name]


def count_cut(raw: Dataset, encoded: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> int:
    """Return how many texts `encode` has cut: of those that fill max_length, which are longer when nothing is cut."""
    full = (token_counts(encoded) >= max_length).nonzero()[:, 0].tolist()
    cut = 0
    for start in range(0, len(full) if task_type(task).cuts else 0, TEXTS_AT_ONCE):
        rows = raw.select(full[start : start + TEXTS_AT_ONCE])
        cut += sum(len(ids) > max_length for ids in task_type(task).uncut(rows, tokenizer, task))
    return cut


def encode(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
    """Tokenise a split as the task's kind does, see kdfeatures.tasks; a large one once, see kdfeatures.tokenization."""
    facts = {"task": asdict(task), "max_length": max_length}
    return kept(dataset, tokenizer, facts, lambda: task_type(task).encode(dataset, tokenizer, task, max_length))
