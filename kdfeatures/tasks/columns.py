"""What the columns of raw and of encoded examples hold, and the checks that kinds of tasks share."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import ClassLabel, Dataset

from kdfeatures.errors import UserError, nearest
from kdfeatures.evaluation.encoded import no_progress_bars
from kdfeatures.tasks.label_order import by_name
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
            new_fingerprint=uuid.uuid4().hex,  # or `datasets` pickles the tokenizer to name what is read from nowhere
        )


def without(example: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    """Return an encoded example without columns that no model takes."""
    return {name: value for name, value in example.items() if name not in columns}


def check_columns(dataset: Dataset, task: Task, split: str) -> None:
    """Raise UserError unless the split has examples, and the columns that the task reads."""
    for column in (*task.text, task.label_column):
        if column not in dataset.column_names:
            raise UserError(
                f"split '{split}' of task '{task.name}' has no column '{column}'"
                f"{nearest(column, dataset.column_names)} (it has {', '.join(dataset.column_names)})"
            )
    if not len(dataset):
        raise UserError(f"split '{split}' of task '{task.name}' has no examples")


def check_texts(dataset: Dataset, task: Task, split: str) -> None:
    """Raise UserError unless the text columns hold strings."""
    for column in task.text:
        kind = getattr(dataset.features[column], "dtype", "nested")
        if "string" not in kind:
            raise UserError(f"column '{column}' of split '{split}' must hold text, but holds {kind}")


def check_no_gaps(rows: Mapping[str, list], columns: Sequence[str], indices: Sequence[int]) -> None:
    """Raise UserError that names the row of a text that is missing. indices: the numbers of the rows."""
    for column in columns:
        if None in rows[column]:
            row = indices[rows[column].index(None)]
            raise UserError(f"column '{column}' has no text in row {row}; remove the row or give it text")


def class_ids(
    labels: Sequence[Any], feature: Any, split: str, task: Task, rows: Sequence[int] | None = None
) -> list[int]:
    """Return the class ids of a column of labels, UNKNOWN_LABEL for hidden ones; raises UserError that names a row.

    labels: as they were read. feature: of `datasets`; a ClassLabel's names are matched with the task's by name.
    rows: which row of the split each is of; None where each row has one.
    """
    if isinstance(feature, ClassLabel):
        position = by_name(task.labels, feature.names)
        if not len(feature.names) == len(task.labels) == len(position):
            raise UserError(
                f"the data of task '{task.name}' have the classes {', '.join(feature.names)}, but task.labels is "
                f"{', '.join(task.labels)}; make them equal"
            )
        ids = [position[name] for name in feature.names]
        return [UNKNOWN_LABEL if label is None or label < 0 else ids[label] for label in labels]
    known: dict[tuple[type, Any], int] = {}
    for number, label in enumerate(labels):
        if (type(label), label) not in known:
            class_id = known_class(label, task)
            if class_id is None and str(label).strip() == str(UNKNOWN_LABEL):
                class_id = UNKNOWN_LABEL
            if class_id is None:
                row = number if rows is None else rows[number]
                raise UserError(
                    f"row {row} of split '{split}' has the label {label!r}; task '{task.name}' takes {classes(task)}, "
                    f"or {UNKNOWN_LABEL} for hidden{nearest(label, task.labels)}"
                )
            known[type(label), label] = class_id
    return [known[type(label), label] for label in labels]


def known_class(label: Any, task: Task) -> int | None:
    """Return the class that a label means: by its name, else by its id; None for no class.

    What is written is compared: the text `01` is not `1`. A number or truth value, which parquet and JSON have, is the
    name it is written as (1.0 also 1, True also true) where one class alone is. Ids, as numbers or text, are read only
    where no class is called by a number.
    """
    if isinstance(label, str):
        written = [label, label.strip()]  # a blank after the comma is no part of a name, unless a name has it
    elif isinstance(label, bool):
        written = [str(label), str(label).lower()]
    elif isinstance(label, int):
        written = [str(label)]
    elif isinstance(label, float) and label.is_integer():
        written = [str(label), str(int(label))]
    else:
        return None
    named = [task.labels.index(name) for name in dict.fromkeys(written) if name in task.labels]
    if named:
        return named[0] if len(named) == 1 or task.labels[named[0]] == written[0] else None
    if isinstance(label, (bool, float)) or not _has_ids(task):
        return None
    ids = {str(class_id): class_id for class_id in range(len(task.labels))}
    return next((ids[name] for name in written if name in ids), None)


def classes(task: Task) -> str:
    """Return how an error lists what labels may be."""
    return ", ".join(task.labels) + (f", 0 to {task.num_labels - 1}" if _has_ids(task) else "")


def _has_ids(task: Task) -> bool:
    return not any(_is_number(name) for name in task.labels)  # stars 1 to 5 are names, and no ids


def _is_number(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
