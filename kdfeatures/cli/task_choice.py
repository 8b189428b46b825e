"""Which task a command is about where none is named: that of the run whose model it is; never a model's by guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.config.compose import quoted
from kdfeatures.errors import UserError
from kdfeatures.runs.manifest import MANIFEST, RESULTS, read_manifest

EMBEDDED = "agreement"  # the task of every command where none is named
MODELS = ("teacher.path", "teacher.outputs", "model.path", "student.path")
# commands about models that are trained, and the options that name those, the first before others
OF_TRAINED = {
    "evaluate": ("model.path",),
    "export": ("model.path",),
    "inspect": ("student.path", "teacher.path"),
}
DATA = ("path", "max_length", "held_out")  # options of data by which a model's texts are read, and split


class RunTask(NamedTuple):
    """What a command takes from a run. option: by which its model is named; text: the task and data in few words."""

    option: str
    file: Path
    text: str
    overrides: list[str]

    def __str__(self) -> str:
        return f"{self.text}, as {self.file} has it; say task=NAME for another."


def task_of_run(command: str, config: Mapping[str, Any], chosen: str | None) -> RunTask | None:
    """Return what the run of the model says that a command is about; None where no model is given or nothing differs.

    config: composed without a word on the task; chosen: the file of conf/task that it took. Raises UserError for a
    model without a run, which would be taken for one of the generated task. `inspect` compares models on any text, and
    grids of runs have `tasks` of their own.
    """
    if chosen != EMBEDDED or "tasks" in config:
        return None
    given = [(name, path) for name in OF_TRAINED.get(command, MODELS) if (path := _value(config, name)) is not None]
    for option, path in given:
        if command in OF_TRAINED and (taken := _taken(command, option, Path(str(path)), config["data"])) is not None:
            return taken if taken.overrides else None
    if not given or command == "inspect":
        return None
    option, path = given[0]
    said = _said(Path(str(path)))
    of_run = None if said is None else said[1]["task"]["name"]
    if of_run == EMBEDDED:
        return None
    example = f"that run had '{of_run}'" if of_run else "such as task=mrpc, or task=files for your own table"
    raise UserError(
        f"{option}={path} is given, but no task, and '{EMBEDDED}', which stands where none is named, is a generated "
        f"grammar; say task=NAME, {example} (kdfeatures {command} --help lists them), or task={EMBEDDED} to mean it."
    )


def _taken(command: str, option: str, folder: Path, defaults: Mapping[str, Any]) -> RunTask | None:
    said = _said(folder)
    if said is None:
        return None
    file, config = said
    task, data = config["task"], config.get("data")
    if not isinstance(data, dict):
        data = {}
    changed = {f"data.{key}": data[key] for key in DATA if key in data and data[key] != defaults.get(key)}
    try:
        overrides = _task_overrides(command, task)
        overrides += [f"{name}={_written(value)}" for name, value in changed.items()]
    except ValueError:  # what no option can be
        return None
    text = ", ".join([f"task={task['name']}", *(f"{name}={value}" for name, value in changed.items())])
    return RunTask(option, file, text, overrides)


def _task_overrides(command: str, task: Mapping[str, Any]) -> list[str]:
    """Return the overrides that make the task: one where it is a file of conf/task, else one for each of its keys."""
    name = task["name"]
    if re.fullmatch(r"[\w-]+", name):
        try:
            composed: Any = OmegaConf.to_container(hydra.compose(command, [f"task={name}"]).task)
        except (HydraException, OmegaConfBaseException):
            composed = None
        if composed == task:
            return [] if name == EMBEDDED else [f"task={name}"]
    return ["~task", *(f"+task.{_key(key)}={_written(value)}" for key, value in task.items())]


def _written(value: Any) -> str:
    """Return a value as an override has it. Raises ValueError for one that no override can have."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_key(key)}:{_written(inner)}" for key, inner in value.items()) + "}"
    raise ValueError(f"{value!r} is no value of an option")


def _key(key: Any) -> str:
    if not isinstance(key, str) or not re.fullmatch(r"[A-Za-z_]\w*", key):
        raise ValueError(f"{key!r} is no name of an option")
    return key


def _value(config: Mapping[str, Any], name: str) -> Any:
    section, _, key = name.partition(".")
    node = config.get(section)
    return node.get(key) if isinstance(node, Mapping) else None


def _said(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Return the file in which a run says its config, and that with its task; None where there is none."""
    manifest = read_manifest(folder)
    if manifest is not None:
        file, config = folder / MANIFEST, manifest["config"]
    elif (folder / RESULTS).is_file():
        from kdfeatures.runs.results import read_results  # its import takes seconds

        try:
            file, config = folder / RESULTS, read_results(folder).get("config")
        except UserError:
            return None
    else:
        return None
    task = config.get("task") if isinstance(config, dict) else None
    is_whole = isinstance(task, dict) and isinstance(task.get("name"), str)
    return (file, config) if is_whole else None
