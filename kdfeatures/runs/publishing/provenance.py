"""Where a run's models and data come from: ids of the Hub, base models, and names in the place of local paths.

What is an id of the Hub must be asked when the run is made: what is a folder then may look like one from elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from kdfeatures.hub.data import commit_of_data
from kdfeatures.hub.models import SEPARATOR, commit_of, without_revision
from kdfeatures.runs.results import FILE, read_results

PATH = "path"  # the option of a model or of data: a folder, or an id of the Hub
MASKED_MODEL = "mlm"  # the option of augmentation that is the path of a model, too
OURS = ("output_dir", "outputs", "pool", "root")  # options that are paths, whatever they look like


def is_local(path: str) -> bool:
    """True for what is a path on this machine, there or not, and no id of the Hub (`name` or `organisation/name`)."""
    location = Path(path)
    return location.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1 or location.exists()


def public_name(path: str, hub: Collection[str] | None = None) -> str:
    """Return an id of the Hub as it is, and of a path the name of its file or folder.

    hub: the ids that were such when the run was made (`hub_ids`). Without it a relative path that is not there, because
    it was relative to another folder, cannot be told from an id.
    """
    return path if (not is_local(path) if hub is None else path in hub) else Path(path).expanduser().resolve().name


def public(value: Any, hub: Collection[str] | None = None) -> Any:
    """Return results or a config with `public_name` in place of every path in it."""
    if isinstance(value, Mapping):
        return {key: _of_option(key, inner, hub) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(inner, hub) for inner in value]
    return Path(value).expanduser().resolve().name if isinstance(value, str) and _is_path(value) else value


def _of_option(key: str, value: Any, hub: Collection[str] | None) -> Any:
    if not isinstance(value, str):
        return public(value, hub)
    if key == PATH:
        return public_name(value, hub)
    return Path(value).name if key in OURS else public(value, hub)


def _is_path(value: str) -> bool:
    # unlike is_local not by its slashes alone: the text may be anything
    if not {"/", os.sep} & set(value):
        return False
    return Path(value).is_absolute() or value.startswith(("~", "./", "../")) or os.path.exists(value)


def hub_ids(config: Mapping[str, Any]) -> list[str]:
    """Return the ids of models and data among the paths of a config, those of its stages and teachers included."""
    ids: dict[str, None] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            ids |= dict.fromkeys(hub_ids(value))
        elif key == PATH and isinstance(value, str) and not is_local(value):
            ids[value] = None
    return list(ids)


def commits(config: Mapping[str, Any]) -> dict[str, str]:
    """Return the commits of what this process read of the Hub for a run, by what it asked for.

    ORG/NAME or ORG/NAME@REVISION of a model, and the same below datasets/ of data.
    """
    models = {asked: commit_of(asked) for asked in _models(config)}
    data = {_asked(f"datasets/{name}", at): commit_of_data(name, at) for name, at in _datasets(config)}
    return {asked: commit for asked, commit in (models | data).items() if commit is not None}


def _models(config: Mapping[str, Any]) -> Iterator[str]:
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _models(value) if key != "data" else ()
        elif key in (PATH, MASKED_MODEL) and isinstance(value, str) and not is_local(value):
            yield _asked(value, config.get("revision"))


def _datasets(config: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    for section in (config, *(config.get("stages") or {}).values()):
        data = (config.get("data") or {}) | (section.get("data") or {})
        name = data.get(PATH) or (section.get("task") or config.get("task") or {}).get("dataset")
        if name is not None:
            yield name, data.get("revision")


def _asked(name: str, revision: str | None) -> str:
    return name if revision is None else f"{name}{SEPARATOR}{revision}"


def base_models(config: Mapping[str, Any]) -> list[str]:
    """Return the ids of the models that a run began with or learned from, and of those that these come from.

    config: a run's, resolved.
    """
    teachers = config.get("teachers") or {}
    sections = [config.get("student"), config.get("model"), config.get("teacher"), *teachers.values()]
    paths = [section[PATH] for section in sections if section and section.get(PATH) is not None]
    return list(dict.fromkeys(base for path in paths for base in _bases(path)))


def _bases(path: str) -> Iterator[str]:
    if not is_local(path):
        yield without_revision(path)
    elif (Path(path) / FILE).is_file():
        yield from read_results(Path(path)).get("base_models") or []
