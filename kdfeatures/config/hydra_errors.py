"""Hydra's complaints in one line, with the nearest name that exists."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.errors import nearest


def explained(error: Exception, command: str, overrides: Sequence[str]) -> str:
    """Return what was wrong with the overrides of a command that hydra.compose could not take."""
    text = str(error)
    if not isinstance(error, (HydraException, OmegaConfBaseException)):
        return f"cannot read {' '.join(overrides)}: {' '.join(text.split()) or type(error).__name__}."
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
        name = unknown[1]
        config = _composed(command, [text for text in overrides if name not in text])
        if config is not None and isinstance(OmegaConf.select(config, name), DictConfig):
            return f"{name} holds options by name, and not all of these are there; to add some, write +{name}=..."
        hint = "" if config is None else _nearest_option(name, config)
        return f"unknown option {name}{hint}; to add it all the same, write +{name}=..."
    return " ".join(line.strip() for line in text.splitlines() if "hydra.cc" not in line)


def _composed(command: str, overrides: list[str]) -> DictConfig | None:
    loader: Any = GlobalHydra.instance().config_loader()
    try:
        return loader.load_configuration(command, overrides, RunMode.MULTIRUN)  # which takes the values of a sweep, too
    except (HydraException, OmegaConfBaseException):
        return None  # another override is wrong as well; the next call will name it


def _nearest_option(name: str, node: DictConfig) -> str:
    *parents, wanted = name.split(".")
    for parent in parents:
        if parent not in node or not isinstance(node[parent], DictConfig):
            return nearest(parent, node)
        node = node[parent]
    return nearest(wanted, node)
