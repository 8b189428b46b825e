"""Which task a command is about: without a word of the user's it is a generated one, which no real model is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdfeatures.errors import UserError
from kdfeatures.runs.manifest import read_manifest

EMBEDDED = "agreement"  # the task of every command where none is named
MODELS = ("teacher.path", "teacher.outputs", "model.path", "student.path")


def check_task_named(command: str, config: Mapping[str, Any], chosen: str | None, *, is_named: bool) -> None:
    """Raise UserError for a model that is given without its task, and would be taken for the generated one's.

    chosen: the file of conf/task that was composed. is_named: whether the user said so. `inspect` compares models on
    any text, and grids of runs have `tasks` of their own.
    """
    if is_named or chosen != EMBEDDED or command == "inspect" or "tasks" in config:
        return
    option, path = next(((name, path) for name in MODELS if (path := _value(config, name)) is not None), ("", None))
    if path is None:
        return
    of_run = _task_of_run(Path(str(path)))
    if of_run == EMBEDDED:
        return
    example = f"that run had '{of_run}'" if of_run else "such as task=mrpc, or task=files for your own table"
    raise UserError(
        f"{option}={path} is given, but no task, and '{EMBEDDED}', which stands where none is named, is a generated "
        f"grammar; say task=NAME, {example} (kdfeatures {command} --help lists them), or task={EMBEDDED} to mean it."
    )


def _value(config: Mapping[str, Any], name: str) -> Any:
    section, _, key = name.partition(".")
    node = config.get(section)
    return node.get(key) if isinstance(node, Mapping) else None


def _task_of_run(folder: Path) -> str | None:
    """Return the name of the task that the run in a folder was on; None where there is none."""
    manifest = read_manifest(folder)
    task = manifest["config"].get("task") if manifest is not None else None
    name = task.get("name") if isinstance(task, dict) else None
    return name if isinstance(name, str) else None
