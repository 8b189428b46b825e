"""What of the Hub a run was made with, and which of its models a model comes from, through every run that led to it.

Both must be asked when the run is made: what is a folder then may look like an id of the Hub from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdfeatures.runs.public import PATH, is_local
from kdfeatures.runs.results import FILE, read_results


def hub_ids(config: Mapping[str, Any]) -> list[str]:
    """Return the ids of models and data among the paths of a config, those of its stages and teachers included."""
    found: dict[str, None] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= dict.fromkeys(hub_ids(value))
        elif key == PATH and isinstance(value, str) and not is_local(value):
            found[value] = None
    return list(found)


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
        yield path
    elif (Path(path) / FILE).is_file():
        yield from read_results(Path(path)).get("base_models") or []
