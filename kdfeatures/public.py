"""What of a run may leave the machine: names instead of the paths of folders here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_local(path: str) -> bool:
    """True for what is a path on this machine, there or not, and no id of the Hub (`name` or `organisation/name`)."""
    found = Path(path)
    return found.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1 or found.exists()


def public_name(path: str) -> str:
    """Return an id of the Hub as it is, and of a path the name of its file or folder."""
    return Path(path).expanduser().resolve().name if is_local(path) else path


def public(value: Any) -> Any:
    """Return results or a config with `public_name` in place of every path in it."""
    if isinstance(value, Mapping):
        return {key: public(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(inner) for inner in value]
    return public_name(value) if isinstance(value, str) and _is_path(value) else value


def _is_path(value: str) -> bool:
    # unlike is_local not by its slashes alone: the text may be anything
    if not {"/", os.sep} & set(value):
        return False
    return Path(value).is_absolute() or value.startswith(("~", "./", "../")) or os.path.exists(value)
