"""JSON and JSON lines: an object for each example, of which the columns that are needed are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow

from kdfeatures.errors import UserError, first_line


def read_records(path: Path, text: str, columns: Sequence[str] | None) -> pyarrow.Table:
    """Return a table of a JSON list of objects, or of one object a line. columns: those to read; None all.

    A column that no object has is left out. Raises UserError that names the row for an object that lacks a column which
    others have, and for values that do not fit together.
    """
    records = _records(path, text)
    there = list(dict.fromkeys(key for record in records for key in record))
    arrays = {}
    for name in there if columns is None else [key for key in there if key in columns]:
        for number, record in enumerate(records):
            if columns is not None and name not in record:
                raise UserError(f"'{path}': entry {number} has no '{name}', which others have")
        arrays[name] = _array([record.get(name) for record in records], name, path)
    if columns is not None and not set(columns) <= set(there):  # errors tell what there is instead
        arrays |= {name: pyarrow.nulls(len(records), pyarrow.string()) for name in there if name not in columns}
    return pyarrow.table(arrays)


def _records(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        if text.lstrip().startswith("["):
            records = json.loads(text)
        else:
            records = [json.loads(line) for line in text.split("\n") if line.strip()]
    except RecursionError as error:
        raise UserError(f"'{path}' is nested too deeply to be a table") from error
    except ValueError as error:
        whole = _whole_object(text)
        if whole is not None:
            raise UserError(f"'{path}' {whole}") from error
        raise UserError(f"'{path}' is neither a JSON list nor JSON lines: {first_line(error)}") from error
    if not records:
        raise UserError(f"'{path}' holds no example: it is empty")
    for number, record in enumerate(records):
        if not isinstance(record, dict):
            raise UserError(f"'{path}' must hold one object an example, but entry {number} is {record!r:.40}")
    if len(records) == 1 and any(
        isinstance(value, list) and value and isinstance(value[0], dict) for value in records[0].values()
    ):
        raise UserError(f"'{path}' {_inside(records[0])}")
    return records


def _whole_object(text: str) -> str | None:
    """Return the error for a file that is one object over several lines."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return _inside(value) if isinstance(value, dict) else None


def _inside(value: dict[str, Any]) -> str:
    lists = [key for key, inner in value.items() if isinstance(inner, list)]
    hint = f"; its examples may be the list '{lists[0]}'" if lists else ""
    return f"is one object and not one for each example{hint}: save that list alone"


def _array(values: list[Any], name: str, path: Path) -> pyarrow.Array:
    try:
        return pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError, RecursionError) as error:
        for number, value in enumerate(values):
            if not _fits([value]):
                raise UserError(
                    f"'{path}': '{name}' of entry {number} is {value!r:.40}, which no column can hold"
                ) from error
            if not _fits([values[0], value]):
                raise UserError(
                    f"'{path}': '{name}' of entry {number} is {value!r:.40}, which does not fit the others, such as "
                    f"{values[0]!r:.40}"
                ) from error
        raise UserError(f"'{path}': the values of '{name}' do not fit together: {first_line(error)}") from error


def _fits(values: list[Any]) -> bool:
    try:
        pyarrow.array(values)
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError, RecursionError):
        return False
    return True
