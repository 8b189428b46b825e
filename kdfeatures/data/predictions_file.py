"""Files of a teacher's answers: parquet, CSV, TSV, JSON or JSON lines, a row for each example.

They have a column `id` and one of these (the first that is there counts):

    logits          a column for each class, logits.LABEL, or a list of C numbers in the order of task.labels
    probabilities   likewise; each row sums to 1
    label           the name or the id of a class, which is then certain; for regression the score

A file holds the training split, or names the split of every row in a column `split`. A folder holds a file for each
split: train.*, validation.*, ... as `split=` names them, and pool.* for data.pool.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from datasets import Dataset, DatasetDict

from kdfeatures.data.files import FILE_ENDINGS, Columns, is_pattern, is_saved_dataset, load_saved, read_file, read_files
from kdfeatures.errors import UserError
from kdfeatures.tasks.columns import classes, known_class
from kdfeatures.tasks.label_order import by_name
from kdfeatures.tasks.task import SPLITS, Task

POOL = "pool"  # what the examples of data.pool are called beside the task's splits
KINDS = ("logits", "probabilities", "label")
TOLERANCE = 0.01  # of a sum of probabilities, which may be rounded
IMPOSSIBLE = -1e3  # for log 0: e^-1000 is 0 at any temperature up to 9, and unlike infinity it gives no NaN


class Answers(NamedTuple):
    """The answers of one split: ids, and logits (answers, C), float32, in the task's label order.

    softened: they are logarithms of given probabilities or labels, so that only their softmax means anything.
    """

    ids: list[str]
    logits: np.ndarray
    softened: bool


def read_answers(path: Path, task: Task, option: str) -> dict[str, Answers]:
    """Read a file or folder, which errors call `option`; returns the answers by split.

    Raises UserError for a missing file or column, an id that occurs twice in a split, another number of classes, and
    numbers that are no logits or probabilities.
    """
    return {split: _answers(table, task, f"{option} ({split})") for split, table in _by_split(path, option).items()}


def write_answers(path: Path, ids: Sequence[str], logits: np.ndarray, task: Task) -> None:
    """Write logits (examples, C), in the task's label order, as a parquet file that `read_answers` takes.

    A column for each class carries its name, so that a task with its labels in another order reads them right.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = {f"logits.{label}": logits[:, n].tolist() for n, label in enumerate(task.labels)}
    Dataset.from_dict({"id": list(ids), **(columns or {"logits": logits.tolist()})}).to_parquet(path)


def _by_split(path: Path, option: str) -> dict[str, Dataset]:
    if is_saved_dataset(path):
        saved = load_saved(path, option)
        tables = dict(saved) if isinstance(saved, DatasetDict) else {"": saved}
        if "" not in tables:
            return {split: _checked(table, path, option) for split, table in tables.items()}
        return _of_column(_checked(tables[""], path, option))
    if not path.is_dir():
        return _of_column(_table(path, option))
    tables = {}
    for split in (*SPLITS, POOL):
        files = [path / f"{split}{ending}" for ending in FILE_ENDINGS if (path / f"{split}{ending}").is_file()]
        if len(files) > 1:
            raise UserError(f"{option} has both {files[0].name} and {files[1].name}; leave one of them.")
        if files:
            tables[split] = _table(files[0], option)
    if not tables:
        raise UserError(f"{option} is a folder without train.parquet, or a file of another split or ending.")
    return tables


def _of_column(table: Dataset) -> dict[str, Dataset]:
    if "split" not in table.column_names:
        return {"train": table}
    of_rows = np.asarray(table["split"][:])
    return {split: table.select(np.flatnonzero(of_rows == split)) for split in dict.fromkeys(of_rows.tolist())}


def _table(path: Path, option: str) -> Dataset:
    columns = Columns(("id", "label", "split"))
    table = read_files(str(path), None, columns, option) if is_pattern(str(path)) else read_file(path, columns, option)
    return _checked(table, path, option)


def _checked(table: Dataset, path: Path, option: str) -> Dataset:
    if not len(table) or "id" not in table.column_names:
        columns = ", ".join(table.column_names) or "nothing"
        raise UserError(f"{option}: '{path}' needs a column 'id' and rows; it has {len(table)} rows of {columns}.")
    return table


def _answers(table: Dataset, task: Task, where: str) -> Answers:
    ids = [str(value) for value in table["id"][:]]
    for row_id, count in Counter(ids).most_common(1):
        if count > 1:
            raise UserError(f"{where} has {count} rows with the id {row_id}; leave one of them.")
    kind = next((candidate for candidate in KINDS if _columns(table, candidate)), None)
    if kind is None:
        raise UserError(f"{where} has none of the columns {', '.join(KINDS)}; it has {', '.join(table.column_names)}.")
    if kind == "label":
        return Answers(ids, _of_labels(table["label"][:], ids, task, where), softened=not task.is_regression)
    if kind == "probabilities" and task.is_regression:
        raise UserError(f"{where} has probabilities, but task '{task.name}' is a regression; give its scores as label.")
    values = _numbers(table, kind, ids, task, where)
    if kind == "logits":
        return Answers(ids, values.astype(np.float32), softened=False)
    sums = values.sum(1)
    for n in np.flatnonzero((values < 0).any(1) | (np.abs(sums - 1) > TOLERANCE)):
        raise UserError(
            f"{where}: the probabilities of id {ids[n]} are {values[n].tolist()}, with the sum {sums[n]:.4g}; they "
            "must be 0 or more and sum to 1."
        )
    with np.errstate(divide="ignore"):
        logits = np.maximum(np.log(values / sums[:, None]), IMPOSSIBLE)
    return Answers(ids, logits.astype(np.float32), softened=True)


def _columns(table: Dataset, kind: str) -> list[str]:
    class_columns = () if kind == "label" else tuple(name for name in table.column_names if name.startswith(f"{kind}."))
    return [kind] if kind in table.column_names else list(class_columns)


def _numbers(table: Dataset, kind: str, ids: Sequence[str], task: Task, where: str) -> np.ndarray:
    """Return what a column of lists, or a column for each class, holds: float64 (answers, C)."""
    if kind in table.column_names:
        rows = table[kind][:]
    else:
        columns = _columns(table, kind)
        position = by_name([name.removeprefix(f"{kind}.") for name in columns], task.labels)
        if not len(columns) == len(task.labels) == len(position):
            expected = ", ".join(f"{kind}.{label}" for label in task.labels)
            raise UserError(f"{where} has the columns {', '.join(columns)}, but the task's are {expected}.")
        rows = list(zip(*(table[columns[position[label]]][:] for label in task.labels), strict=True))
    for row_id, row in zip(ids, rows, strict=True):
        if not isinstance(row, (list, tuple)):
            raise UserError(
                f"{where}: {kind} of id {row_id} is no list; in a CSV give a column for each: {kind}.LABEL."
            )
        if len(row) != task.num_labels:
            names = ", ".join(task.labels) or "a score"
            raise UserError(
                f"{where}: id {row_id} has {len(row)} {kind}, but task '{task.name}' has {task.num_labels} ({names})."
            )
        if not all(type(x) in (int, float) and np.isfinite(x) for x in row):
            raise UserError(f"{where}: {kind} of id {row_id} are {list(row)}, but must be finite numbers.")
    return np.asarray(rows, dtype=np.float64)


def _of_labels(labels: Sequence[Any], ids: Sequence[str], task: Task, where: str) -> np.ndarray:
    if task.is_regression:
        return np.array(
            [[_score(label, row_id, where)] for row_id, label in zip(ids, labels, strict=True)], dtype=np.float32
        )
    logits = np.full((len(ids), len(task.labels)), IMPOSSIBLE, dtype=np.float32)
    for row, (row_id, label) in enumerate(zip(ids, labels, strict=True)):
        class_id = known_class(label, task)
        if class_id is None:
            raise UserError(f"{where}: id {row_id} has the label {label!r}; task '{task.name}' takes {classes(task)}.")
        logits[row, class_id] = 0.0
    return logits


def _score(label: Any, row_id: str, where: str) -> float:
    try:
        score = float(label)
    except (TypeError, ValueError):
        score = float("nan")
    if not np.isfinite(score):
        raise UserError(f"{where}: id {row_id} has the label {label!r}, but a regression needs a finite number.")
    return score
