"""Run configs as the commands compose them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra._internal import config_loader_impl
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from omegaconf import DictConfig

from kdfeatures.config.objective import bind, objective_of
from kdfeatures.config.paths import conf_dir
from kdfeatures.config.schema import plain_config
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.losses.base import Outputs
from kdfeatures.mapping.pairs import LayerPair


def compose(command: str, *overrides: str) -> DictConfig:
    """Return the config of `kdfeatures COMMAND OVERRIDES`, the caller's own."""
    return copy.deepcopy(_composed(command, overrides))


def plain(command: str, *overrides: str) -> dict[str, Any]:
    """Return the same as plain data, as all see it who know no Hydra."""
    return plain_config(compose(command, *overrides), Path("out"))


def bound(
    config: Mapping[str, Any],
    student,
    teacher,
    *,
    outputs: Outputs = "classes",
    others: Mapping[str, Any] | None = None,
) -> tuple[BoundObjective, tuple[LayerPair, ...]]:
    """Return the objective of a run config for these models' configs, and the pairs that its projections were told."""
    objective = objective_of(config)
    pairs: list[LayerPair] = []
    make = objective.projection

    def noted(found, *widths):
        pairs.extend(found)
        return make(found, *widths)

    objective.projection = noted
    return bind(objective, student, teacher, others or {}, outputs=outputs), tuple(pairs)


@functools.cache  # reading the files takes longer than most tests do
def _composed(command: str, overrides: tuple[str, ...]) -> DictConfig:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return hydra.compose(command, list(overrides))


KEPT = 32
_lists: dict[tuple, object] = {}
_configs: dict[tuple, DictConfig] = {}


def share_compositions(patch: pytest.MonkeyPatch) -> None:
    """Let Hydra merge the files of a config once for all calls with the same overrides.

    A command composes its config three times, twice inside Hydra, and grids and sweeps many times more; that takes
    longer than most of what tests of commands do then. Files must not change between two calls that share them.
    """
    listed, merged = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list

    def create_defaults_list(repo, config_name, overrides_list, prepend_hydra, skip_missing):
        key = (_sources(repo), config_name, tuple(override.input_line for override in overrides_list), prepend_hydra)
        if key in _lists:
            return _lists[key]
        found = listed(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        if not skip_missing:  # what lacks no choice is the same either way
            _keep(_lists, key, found)
        return found

    def compose_from_defaults(self, defaults, repo):
        key = (_sources(repo), repr(defaults))
        if key not in _configs:
            _keep(_configs, key, merged(self, defaults, repo))
        return copy.deepcopy(_configs[key])

    patch.setattr(config_loader_impl, "create_defaults_list", create_defaults_list)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose_from_defaults)


def _sources(repo) -> tuple:
    return tuple((source.provider, source.path) for source in repo.get_sources())


def _keep(kept: dict, key: tuple, value: object) -> None:
    kept[key] = value
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
