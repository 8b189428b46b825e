"""Which models of the Hub a model comes from, through every run on this machine that led to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from kdfeatures.public import MODEL, is_local
from kdfeatures.results import FILE, read_results


def base_models(config: Mapping[str, Any]) -> list[str]:
    """Return the ids of the models that a run began with or learned from, and of those that these come from.

    config: a run's, resolved. It must be asked when the run is made: what is a folder then may be none from elsewhere.
    """
    teachers = config.get("teachers") or {}
    sections = [config.get("student"), config.get("model"), config.get("teacher"), *teachers.values()]
    paths = [section[MODEL] for section in sections if section and section.get(MODEL) is not None]
    return list(dict.fromkeys(base for path in paths for base in _bases(path)))


def _bases(path: str) -> Iterator[str]:
    if not is_local(path):
        yield path
    elif (Path(path) / FILE).is_file():
        yield from read_results(Path(path)).get("base_models") or []
