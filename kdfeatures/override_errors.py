"""Hydra's complaints in one line, with the nearest name that exists."""

from __future__ import annotations

import re
from collections.abc import Sequence

import hydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.errors import nearest


def explained(error: Exception, command: str, overrides: Sequence[str]) -> str:
    """Return what was wrong with the overrides of a command that hydra.compose could not take."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return (
            f"cannot read '{error.override}': {text.splitlines()[0]}; write NAME=VALUE in quotes for "
            "the shell, and a value that holds = or a comma in quotes of its own, \"NAME='VALUE'\"."
        )
    missing = re.search(r"Could not find '(\w+)/([^']+)'", text)
    if missing:
        group, wanted = missing.groups()
        choices = re.findall(r"^\t([\w.-]+)$", text, flags=re.MULTILINE)
        known = f"choose from {', '.join(choices)}" if choices else f"conf/{group} is empty"
        return f"unknown {group} '{wanted}'{nearest(wanted, choices)}; {known}."
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        *parents, wanted = unknown[1].split(".")
        hint = _nearest_option(parents, wanted, command, [text for text in overrides if unknown[1] not in text])
        return f"unknown option {unknown[1]}{hint}; to add it all the same, write +{unknown[1]}=..."
    return " ".join(line.strip() for line in text.splitlines() if "hydra.cc" not in line)


def _nearest_option(parents: list[str], wanted: str, command: str, overrides: list[str]) -> str:
    try:
        node = hydra.compose(command, overrides)
    except (HydraException, OmegaConfBaseException):
        return ""  # another override is wrong as well; the next call will name it
    for name in parents:
        if name not in node or not isinstance(node[name], DictConfig):
            return nearest(name, node)
        node = node[name]
    return nearest(wanted, node)
