"""Whether a folder's run was made with the settings that are asked for now."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def first_difference(then: Mapping[str, Any], now: Mapping[str, Any], counts: Callable[[str], bool]) -> str | None:
    """Return a part of a sentence on the first option that differs, `name=then, but now it is ...`, or None.

    then, now: resolved configs. counts: whether an option, by its dotted name, is looked at. What is null or empty in
    one and not there in the other came with a later version, and is no difference.
    """
    before, after = ({name: value for name, value in flat(config).items() if value != {}} for config in (then, now))
    for name in sorted(before.keys() | after.keys()):
        if counts(name) and before.get(name) != after.get(name):
            return f"{name}={before.get(name)}, but now it is {after.get(name)}"
    return None


def flat(node: Any, name: str = "") -> dict[str, Any]:
    """Return all values of a config by dotted name; lists are values."""
    if isinstance(node, Mapping) and node:
        parts = [flat(value, f"{name}.{key}" if name else str(key)) for key, value in node.items()]
        return {key: value for part in parts for key, value in part.items()}
    return {name: node}
