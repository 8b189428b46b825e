"""Run configs as the commands compose them."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import pytest
from hydra._internal import config_loader_impl, defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.defaults_list import DefaultsList
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from kdfeatures.config.objective import bind, objective_of
from kdfeatures.config.paths import conf_dir
from kdfeatures.config.schema import plain_config
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.losses.base import Outputs
from kdfeatures.mapping.pairs import LayerPair


def compose(command: str, *overrides: str) -> DictConfig:
    """Return the config of `kdfeatures COMMAND OVERRIDES`, the caller's own."""
    return pickle.loads(_composed(command, overrides))


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
def _composed(command: str, overrides: tuple[str, ...]) -> bytes:
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return pickle.dumps(hydra.compose(command, list(overrides)))


KEPT = 64
PACKAGED = str(conf_dir())
_files: dict[tuple, bytes] = {}
_parts: dict[tuple, bytes] = {}
_lists: dict[tuple, DefaultsList] = {}
_configs: dict[tuple, bytes] = {}


def share_compositions(patch: pytest.MonkeyPatch) -> None:
    """Let Hydra read each packaged file once, and merge the files of a config once for all calls that choose the same.

    A command composes its config three times, twice inside Hydra, and grids and sweeps many times more; that takes
    longer than most of what tests of commands do then. Files of other folders are read again by every call.
    """
    listed, merged = config_loader_impl.create_defaults_list, ConfigLoaderImpl._compose_config_from_defaults_list
    loaded, choices_so_far = ConfigLoaderImpl._load_single_config, defaults_list._create_interpolation_map

    def once(method: str) -> None:
        asked = getattr(ConfigRepository, method)

        @functools.wraps(asked)
        def remembered(self, config_path):
            if not _is_packaged(self):
                return asked(self, config_path)
            key = (method, _sources(self), config_path)
            if key not in _files:
                _files[key] = pickle.dumps(asked(self, config_path))
            return pickle.loads(_files[key])  # merging writes into what was read; a deep copy takes five times as long

        patch.setattr(ConfigRepository, method, remembered)

    def create_defaults_list(repo, config_name, overrides_list, prepend_hydra, skip_missing):
        if not _is_packaged(repo):
            return listed(repo, config_name, overrides_list, prepend_hydra, skip_missing)
        values = [override for override in overrides_list if _is_value(override, repo)]
        choices = [override for override in overrides_list if override not in values]
        key = (_sources(repo), config_name, tuple(override.input_line for override in choices), prepend_hydra)
        if key not in _lists:
            made = listed(repo, config_name, choices, prepend_hydra, skip_missing)
            if skip_missing:
                return replace(made, config_overrides=values)
            _keep(_lists, key, made)  # what lacks no choice is the same either way
        return replace(_lists[key], config_overrides=values)

    def compose_from_defaults(self, defaults, repo):
        if not _is_packaged(repo):
            return merged(self, defaults, repo)
        key = (_sources(repo), repr(defaults))
        if key not in _configs:
            _keep(_configs, key, pickle.dumps(merged(self, defaults, repo)))
        return pickle.loads(_configs[key])

    def load_single(self, default, repo):
        if not _is_packaged(repo):
            return loaded(self, default, repo)
        key = (_sources(repo), repr(default))
        if key not in _parts:
            _parts[key] = pickle.dumps(loaded(self, default, repo))
        return pickle.loads(_parts[key])

    def choices_where_read(overrides, defaults, self_added):
        is_read = any("${" in repr(default) for default in defaults)  # as in `regime: ${task}`, alone
        return choices_so_far(overrides, defaults, self_added) if is_read else None

    for method in ("load_config", "group_exists", "config_exists"):
        once(method)
    patch.setattr(config_loader_impl, "create_defaults_list", create_defaults_list)
    patch.setattr(defaults_list, "_create_interpolation_map", choices_where_read)
    patch.setattr(ConfigLoaderImpl, "_load_single_config", load_single)
    patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", compose_from_defaults)


def _is_value(override: Override, repo) -> bool:
    if override.is_sweep_override():
        return False
    return isinstance(override.value(), dict) or not repo.group_exists(override.key_or_group)


def _is_packaged(repo) -> bool:
    return all(source.scheme() != "file" or source.path == PACKAGED for source in repo.get_sources())


def _sources(repo) -> tuple:
    return tuple((source.provider, source.path) for source in repo.get_sources())


def _keep(kept: dict, key: tuple, value: object) -> None:
    kept[key] = value
    if len(kept) > KEPT:
        del kept[next(iter(kept))]
