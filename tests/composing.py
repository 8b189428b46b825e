"""Run configs as the commands compose them."""

from __future__ import annotations

import copy
import functools

import hydra
from omegaconf import DictConfig

from kdfeatures.paths import conf_dir


def compose(command: str, *overrides: str) -> DictConfig:
    """Return the config of `kdfeatures COMMAND OVERRIDES`, the caller's own."""
    return copy.deepcopy(_composed(command, overrides))


@functools.cache  # reading the files takes longer than most tests do
def _composed(command: str, overrides: tuple[str, ...]) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(command, list(overrides))
