"""A user's own text without labels, for the teacher to label: data.pool."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from datasets import Dataset

from kdfeatures.data.files import ending_of, expand, read_files, read_text
from kdfeatures.data.files.find import TEXT_ENDINGS
from kdfeatures.data.sources import format_of, read_columns
from kdfeatures.errors import UserError, nearest
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task


def read_pool(path: str, task: Task, ids: Sequence[str] = ()) -> Dataset:
    """Return the rows of a file in the form of the task's own, to be encoded likewise; every label is hidden.

    path: CSV, JSON, JSON lines or parquet with the task's text columns, whose labels are not read; or .txt with a text
    a line, where empty lines do not count. ids: columns that are read beside, as they are written.
    Raises UserError for a missing file or column, columns without text, .txt for a task of two texts, and no rows.
    """
    option = f"data.pool={path}"
    if ending_of(path, TEXT_ENDINGS) is not None:
        rows = _lines(path, task, option)
    else:
        rows = read_files(path, None, read_columns(task, ids), option, format_of(task), "train")
    needed = task.text if task_type(task).labels_train else task.text[:1]
    for column in needed if len(rows) else ():
        if column not in rows.column_names:
            raise UserError(
                f"{option} has no column '{column}'{nearest(column, rows.column_names)} (it has "
                f"{', '.join(rows.column_names)}), but task '{task.name}' reads {', '.join(task.text)}."
            )
        kind = getattr(rows.features[column], "dtype", "nested")
        if "string" not in kind:
            raise UserError(f"{option}: column '{column}' must hold text, but holds {kind}.")
    if not len(rows):
        raise UserError(f"{option} has no examples; leave it out.")
    kind = task_type(task)
    rows = rows.remove_columns([name for name in rows.column_names if name in set(task.data_columns) - set(task.text)])
    if task.has_labels:
        rows = rows.add_column(task.label_column, kind.hidden_labels(rows, task))
    return kind.checked(rows, task, "pool")


def _lines(path: str, task: Task, option: str) -> Dataset:
    if len(task.text) > 1 and task_type(task).labels_train:
        raise UserError(
            f"{option} has one text a line, but task '{task.name}' reads {', '.join(task.text)}; give a CSV or JSON "
            "lines with these columns."
        )
    return Dataset.from_dict({task.text[0]: list(read_lines(path, option, task.encoding))})


def read_lines(path: str, option: str, encoding: str | None) -> Iterator[str]:
    """Yield the lines, blank ones aside, of a text file, a folder of such or a pattern, that `option` names."""
    for file in expand(path, None, option, TEXT_ENDINGS):
        yield from (line for line in read_text(file, encoding, "task.encoding").splitlines() if line.strip())
