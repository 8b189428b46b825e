"""From a task to model inputs: load its splits, check them, tokenise them."""

from __future__ import annotations

from pathlib import Path

from datasets import Dataset, DatasetDict
from transformers import PreTrainedTokenizerBase

from kdfeatures.data import sources
from kdfeatures.errors import MissingSplit, UserError
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

DATA_SEED = 0  # of generated tasks: all runs see the same data, whatever their own seed


def load_task(task: Task, path: str | None = None, *, seed: int = DATA_SEED) -> DatasetDict:
    """Load the splits of a task, under the data's own names for them.

    path: a local copy in the Hub's layout; for a task of the user's files, the folder their paths start from;
    None takes the Hub and the working folder. seed: for generated tasks only.
    Labels come as the task's kind has them; names in a text column become ids.
    Splits may be missing: `split_of` says so. Raises UserError for missing folders, files and columns, for
    labels outside the task's, and, at once, for a Hub that does not answer.
    """
    if task.embedded:
        if path is not None:
            raise UserError(f"task '{task.name}' is generated; leave out data.path='{path}'")
        from kdfeatures.data.synthetic import load

        raw = load(task.embedded, seed)
    elif task.files:
        raw = sources.from_files(task, Path(path or "."))
    elif path is not None:
        raw = sources.from_folder(task, Path(path))
    else:
        raw = sources.from_hub(task)
    return DatasetDict({split: task_type(task).checked(examples, task, split) for split, examples in raw.items()})


def split_of(datasets: DatasetDict, task: Task, split: str) -> Dataset:
    """Return what the task calls `split` (train, validation, ...); raises UserError when it is missing."""
    if split not in task.splits:
        hint = "; data.held_out=0.1 makes one of the training examples" if split == "selection" else ""
        raise UserError(f"task '{task.name}' has no split '{split}'; it has {', '.join(task.splits)}{hint}")
    name = task.splits[split]
    if name not in datasets:
        available = ", ".join(datasets)
        raise MissingSplit(f"the data of task '{task.name}' lack the split '{name}'; there is {available}")
    return datasets[name]


def encode(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
    """Tokenise a split as the task's kind does; see kdfeatures.tasks."""
    return task_type(task).encode(dataset, tokenizer, task, max_length)
