"""What the columns of raw and of encoded examples hold, and the checks that kinds of tasks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from datasets import Dataset

from kdfeatures.errors import UserError, nearest
from kdfeatures.evaluation.encoded import no_progress_bars
from kdfeatures.tasks.task import Task

UNKNOWN_LABEL = -1  # the label of an example whose class is kept secret, as in GLUE's test splits
IGNORE_INDEX = -100  # the same for a model: cross-entropy leaves it out
ROWS_WORTH_A_PROGRESS_BAR = 50_000


def encoded(dataset: Dataset, tokenize: Callable[[dict[str, list], list[int]], Any]) -> Dataset:
    """Return what `tokenize` makes of batches of rows and their numbers, in place of the dataset's columns."""
    with no_progress_bars(when=len(dataset) < ROWS_WORTH_A_PROGRESS_BAR):
        # never answered from the cache: its key does not see every change of the tokenizer or of this code
        return dataset.map(
            tokenize,
            batched=True,
            with_indices=True,
            remove_columns=dataset.column_names,
            load_from_cache_file=False,
        )


def check_columns(dataset: Dataset, task: Task, split: str) -> None:
    """Raise UserError unless the split has examples, and the columns that the task reads."""
    assert task.label is not None
    for column in (*task.text, task.label):
        if column not in dataset.column_names:
            raise UserError(
                f"split '{split}' of task '{task.name}' has no column '{column}'"
                f"{nearest(column, dataset.column_names)} (it has {', '.join(dataset.column_names)})"
            )
    if not len(dataset):
        raise UserError(f"split '{split}' of task '{task.name}' has no examples")


def check_classes(found: list[str], task: Task) -> None:
    """Raise UserError unless a column's own class names are the task's."""
    if found != list(task.labels):
        raise UserError(
            f"the data of task '{task.name}' have the classes {', '.join(found)}, in this order, "
            f"but task.labels is {', '.join(task.labels)}; make them equal"
        )


def class_id(label: Any, row: int, split: str, task: Task, *, ids: bool) -> int:
    """Return the id of a label: its name, UNKNOWN_LABEL or, with `ids`, the id itself; raises UserError."""
    if type(label) is int and (label == UNKNOWN_LABEL or ids and 0 <= label < task.num_labels):
        return label
    if type(label) in (int, str) and str(label) in task.labels:
        return task.labels.index(str(label))
    raise UserError(
        f"row {row} of split '{split}' has the label {label!r}; task '{task.name}' takes "
        f"{', '.join(task.labels)}{f', 0 to {task.num_labels - 1}' if ids else ''}, or {UNKNOWN_LABEL} for hidden"
        f"{nearest(label, task.labels)}"
    )
