"""The types of a task's facts, as its file has them; what they mean together is checked by `Task`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdfeatures.errors import UserError

TEXTS = ("name", "kind", "label", "dataset", "config", "embedded", "separator", "loss")
MAPPINGS = {
    "files": "give files by split: task.files.train=FILE",
    "splits": "give names by split: task.splits.train=NAME",
    "reading": "give options by name: task.reading.masked=0.15",
    "windows": "give options by name: task.windows.overlap=64",
}


def check_fact_types(task: Mapping[str, Any]) -> None:
    """Raise UserError for a fact of another type than its meaning needs, such as a list as the label column."""
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
