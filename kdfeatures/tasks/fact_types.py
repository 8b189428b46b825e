"""The types of a task's facts, as its file has them; what they mean together is checked by `Task`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdfeatures.errors import UserError

DELIMITER_NAMES = {"tab": "\t", "\\t": "\t"}  # a tab can hardly be written on a command line
TEXTS = ("name", "kind", "label", "dataset", "config", "embedded", "separator", "loss")
MAPPINGS = {
    "files": "give files by split: task.files.train=FILE",
    "splits": "give names by split: task.splits.train=NAME",
    "reading": "give options by name: task.reading.masked=0.15",
    "windows": "give options by name: task.windows.overlap=64",
}


def check_fact_types(task: Mapping[str, Any]) -> None:
    """Raise UserError for a fact of another type than its meaning needs, such as a list as the label column.

    So for options of the user's own files: which they are, and how they are written.
    """
    for key in TEXTS:
        value = task.get(key)
        if value is not None and not isinstance(value, str):
            hint = f"write \"task.{key}='{value}'\"" if type(value) in (int, float, bool) else "give one name"
            raise UserError(f"task.{key}={value} must be text; {hint}")
    for key, hint in MAPPINGS.items():
        if task.get(key) is not None and not isinstance(task[key], Mapping):
            raise UserError(f"task.{key}={task[key]} must hold values by name; {hint}")
    for split, name in (task.get("splits") or {}).items():
        if not isinstance(name, str):
            raise UserError(f"task.splits.{split}={name} must be text: the data's name of this split")
    _check_files(task)


def _check_files(task: Mapping[str, Any]) -> None:
    for split, given in (task.get("files") or {}).items():
        names = given if isinstance(given, list | tuple) else [given]
        if given is not None and not (names and all(isinstance(name, str) for name in names)):
            raise UserError(f"task.files.{split}={given} must be a file, a pattern, a folder, or a list of them")
    delimiter, quotes, encoding = (task.get(key) for key in ("delimiter", "quotes", "encoding"))
    if delimiter is not None and str(delimiter) not in DELIMITER_NAMES and len(str(delimiter)) != 1:
        raise UserError(f"task.delimiter='{delimiter}' must be one sign, such as ';', or tab")
    if quotes is not None and not isinstance(quotes, bool):
        raise UserError(f"task.quotes={quotes} must be true, false or null")
    if encoding is not None and not isinstance(encoding, str):
        raise UserError(f"task.encoding={encoding} must be the name of an encoding, such as cp1252")
