"""From a task to model inputs: load its splits, check them, tokenise them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.compute
import torch
from datasets import ClassLabel, Dataset, DatasetDict, Value
from transformers import PreTrainedTokenizerBase

from kdfeatures import sources
from kdfeatures.errors import UserError, nearest
from kdfeatures.progress import no_progress_bars
from kdfeatures.tasks import Task

HIDDEN = -1  # the label of an example whose class is kept secret, as in GLUE's test splits
IGNORED = -100  # the same for a model: cross-entropy leaves it out
ROWS_WORTH_A_PROGRESS_BAR = 50_000


def load_task(task: Task, path: str | None = None, *, seed: int = 0) -> DatasetDict:
    """Load the splits of a task, under the data's own names for them.

    path: a local copy in the Hub's layout; for a task of the user's files, the folder their paths start from;
    None takes the Hub and the working folder. seed: for generated tasks only.
    Labels come as ClassLabel with the task's names, or float32; names in a text column become ids.
    Splits may be missing: `split_of` says so. Raises UserError for missing folders, files and columns, for
    labels outside the task's, and, at once, for a Hub that does not answer.
    """
    if task.embedded:
        if path is not None:
            raise UserError(f"task '{task.name}' is generated; leave out data.path='{path}'")
        from kdfeatures.embedded import load

        raw = load(task.embedded, seed)
    elif task.files:
        raw = sources.from_files(task, Path(path or "."))
    elif path is not None:
        raw = sources.from_folder(task, Path(path))
    else:
        raw = sources.from_hub(task)
    return DatasetDict({split: _checked(examples, task, split) for split, examples in raw.items()})


def split_of(datasets: DatasetDict, task: Task, split: str) -> Dataset:
    """Return what the task calls `split` (train, validation, ...); raises UserError when it is missing."""
    if split not in task.splits:
        raise UserError(f"task '{task.name}' has no split '{split}'; it has {', '.join(task.splits)}")
    name = task.splits[split]
    if name not in datasets:
        there = ", ".join(datasets)
        raise UserError(f"the data of task '{task.name}' lack the split '{name}'; there is {there}")
    return datasets[name]


def encode(dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
    """Tokenise to columns input_ids, attention_mask, token_type_ids if the tokenizer makes them, and labels.

    Examples are cut to max_length tokens and not padded: the collator pads each batch. labels: class id, -100
    where hidden; for regression a float, NaN where the whole split is hidden.
    Raises UserError for a missing text, naming its row, and for a max_length that leaves no room for text.
    """
    special = tokenizer.num_special_tokens_to_add(pair=len(task.text) == 2)
    if max_length < special + len(task.text):
        raise UserError(f"max_length={max_length} leaves no room for text beside {special} special tokens")
    labels = _model_labels(dataset[task.label][:], task)

    def tokenize(rows: dict[str, list], indices: list[int]) -> dict[str, Any]:
        for column in task.text:
            if None in rows[column]:
                row = indices[rows[column].index(None)]
                raise UserError(f"column '{column}' has no text in row {row}; remove the row or give it text")
        inputs = tokenizer(*(rows[column] for column in task.text), truncation=True, max_length=max_length)
        return {**inputs, "labels": [labels[index] for index in indices]}

    with no_progress_bars(when=len(dataset) < ROWS_WORTH_A_PROGRESS_BAR):
        # never answered from the cache: its key does not see every change of the tokenizer or of this code
        return dataset.map(
            tokenize,
            batched=True,
            with_indices=True,
            remove_columns=dataset.column_names,
            load_from_cache_file=False,
        )


def token_counts(dataset: Dataset) -> torch.Tensor:
    """Return the number of tokens of every encoded example, without making Python lists of them."""
    column = dataset.with_format("arrow")["input_ids"][:]
    return torch.tensor(pyarrow.compute.list_value_length(column).to_numpy(), dtype=torch.long)


def _model_labels(labels: list, task: Task) -> list:
    if not task.is_regression:
        return [IGNORED if label == HIDDEN else label for label in labels]
    # -1 may be a true score; only a split that holds nothing else hides its scores
    return [float("nan")] * len(labels) if set(labels) == {float(HIDDEN)} else labels


def _checked(dataset: Dataset, task: Task, split: str) -> Dataset:
    """Return the split with labels as ClassLabel or float32; raises UserError for what does not fit."""
    for column in (*task.text, task.label):
        if column not in dataset.column_names:
            raise UserError(
                f"split '{split}' of task '{task.name}' has no column '{column}'"
                f"{nearest(column, dataset.column_names)} (it has {', '.join(dataset.column_names)})"
            )
    if not len(dataset):
        raise UserError(f"split '{split}' of task '{task.name}' has no examples")
    for column in task.text:
        kind = getattr(dataset.features[column], "dtype", "nested")
        if "string" not in kind:
            raise UserError(f"column '{column}' of split '{split}' must hold text, but holds {kind}")
    feature, labels = dataset.features[task.label], dataset[task.label][:]
    if task.is_regression:
        wanted, values = Value("float32"), [_score(label, row, split) for row, label in enumerate(labels)]
    else:
        wanted = ClassLabel(names=list(task.labels))
        if isinstance(feature, ClassLabel) and feature.names != wanted.names:
            raise UserError(
                f"the data of task '{task.name}' have the classes {', '.join(feature.names)}, in this order, "
                f"but task.labels is {', '.join(wanted.names)}; make them equal"
            )
        # a column of stars 1 to 5 names its classes by numbers, which are then no ids
        ids = isinstance(feature, ClassLabel) or not any(name.isdecimal() for name in task.labels)
        values = [_class_id(label, row, split, task, ids=ids) for row, label in enumerate(labels)]
    if feature == wanted:
        return dataset
    return dataset.remove_columns(task.label).add_column(task.label, values, feature=wanted)


def _score(label: Any, row: int, split: str) -> float:
    if isinstance(label, bool) or not isinstance(label, (int, float)) or label != label:
        raise UserError(f"row {row} of split '{split}' has the label {label!r}; regression needs a number")
    return float(label)


def _class_id(label: Any, row: int, split: str, task: Task, *, ids: bool) -> int:
    if type(label) is int and (label == HIDDEN or ids and 0 <= label < task.num_labels):
        return label
    if type(label) in (int, str) and str(label) in task.labels:
        return task.labels.index(str(label))
    raise UserError(
        f"row {row} of split '{split}' has the label {label!r}; task '{task.name}' takes "
        f"{', '.join(task.labels)}{f', 0 to {task.num_labels - 1}' if ids else ''}, or {HIDDEN} for hidden"
        f"{nearest(label, task.labels)}"
    )
