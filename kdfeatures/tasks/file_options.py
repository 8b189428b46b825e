"""Options of a task of the user's own files: which files, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdfeatures.errors import UserError

DELIMITER_NAMES = {"tab": "\t", "\\t": "\t"}  # a tab can hardly be written on a command line


def check_file_options(task: Mapping[str, Any]) -> None:
    """Raise UserError for values of task.files, task.delimiter, task.quotes or task.encoding that are of no use."""
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
