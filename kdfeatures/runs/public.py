"""What of a run may leave the machine: names instead of the paths of folders here."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

PATH = "path"  # the option of a model or of data: a folder, or an id of the Hub
OURS = ("output_dir", "outputs", "pool", "root")  # options that are paths, whatever they look like


def is_local(path: str) -> bool:
    """True for what is a path on this machine, there or not, and no id of the Hub (`name` or `organisation/name`)."""
    found = Path(path)
    return found.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1 or found.exists()


def public_name(path: str, hub: Collection[str] | None = None) -> str:
    """Return an id of the Hub as it is, and of a path the name of its file or folder.

    hub: the ids that were such when the run was made (kdfeatures.runs.provenance). Without it a relative path that is
    not there, because it was relative to another folder, cannot be told from an id.
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
