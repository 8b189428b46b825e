"""The config of a command as a Python call chooses it: files of conf/ by name, values over them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.config.hydra_errors import explained
from kdfeatures.config.paths import NOWHERE, conf_dir
from kdfeatures.config.schema import plain_config
from kdfeatures.errors import UserError, nearest
from kdfeatures.runs.config_diff import flat
from kdfeatures.runs.stage_configs import merged


def composed(
    command: str,
    output_dir: Path | None,
    *,
    choices: Mapping[str, str | None],
    values: Mapping[str, Any],
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Return a command's config as plain data.

    Args:
        command: a file of conf/, such as "distill".
        output_dir: where the run goes; None for a config that is only read.
        choices: {group: name of a file of conf/GROUP}, and plain options that others refer to, such as seed; None
            leaves a group out.
        values: nested options that replace those of the files.
        overrides: in the words of the command line, such as "cache=auto"; of no option that `values` has.

    Raises:
        UserError: one line, with the nearest name, for a file, an option or an override that is unknown.
    """
    chosen = [f"~{name}" if value is None else f"{name}={value}" for name, value in choices.items()]
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        try:
            cfg = hydra.compose(command, [*chosen, *overrides])
        except (HydraException, OmegaConfBaseException, ValueError) as error:
            raise UserError(explained(error, command, [*chosen, *overrides])) from error
        config = plain_config(cfg, NOWHERE if output_dir is None else output_dir)
    check_seed(config["seed"])
    check_allow_targets(config["allow_targets"], given=True)  # all files are the package's
    _check_known(values, config)
    _check_said_once(overrides, values)
    return merged(config, values)


def check_seed(seed: Any) -> None:
    """Raise UserError for a seed that random generators do not take."""
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise UserError(f"seed={seed} must be a whole number from 0 to 2^32 - 1.")


def check_allow_targets(allow_targets: Any, *, given: bool) -> None:
    """Raise UserError for what is no list of packages, and for trust that a file asks for.

    given: whether the call itself says `allow_targets`, by its command line or its arguments.
    """
    if not isinstance(allow_targets, list) or not all(isinstance(name, str) and name for name in allow_targets):
        raise UserError(f"allow_targets={allow_targets} must be a list of packages, such as allow_targets=[my_package]")
    if allow_targets and not given:
        names = ",".join(allow_targets)
        raise UserError(
            f"a file sets allow_targets=[{names}], but what a file says is no permission to run code; read it, and if "
            f"you trust {names}, write allow_targets=[{names}] on the command line."
        )


def _check_known(values: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    for name, value in values.items():
        if name not in config:
            raise UserError(f"unknown option {name}{nearest(name, config)}; known: {', '.join(config)}.")
        # a trainer takes all that TrainingArguments knows, and terms, splits and teachers have names of the user's
        if name in ("data", "student") and isinstance(value, Mapping):
            for key in value:
                if key not in config[name]:
                    raise UserError(
                        f"unknown option {name}.{key}{nearest(key, config[name])}; known: {', '.join(config[name])}."
                    )


def _check_said_once(overrides: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raise UserError for an override of an option that an argument of the call gives, which would win unseen."""
    given = flat(values)
    for override in overrides:
        name = key_of(override)
        if name in given:
            raise UserError(
                f"overrides has {override}, but {name} is what the argument '{name.partition('.')[0]}' says, "
                f"{given[name]}, by default or as you gave it; say it there."
            )


def key_of(override: str) -> str:
    """Return what an override is of, without the signs before it: trainer.seed, mapping, loss@losses.extra."""
    parsed = OverridesParser.create().parse_override(override)
    return parsed.key_or_group if parsed.package is None else f"{parsed.key_or_group}@{parsed.package}"


def quoted(path: str) -> str:
    """Return a path as an override has it, whatever signs are in it."""
    # Hydra takes backslashes as they are but for those before a quote, OmegaConf ${ but for that behind one
    inside = re.sub(r"(\\+)$|(\\*)'", _escaped, path).replace("${", r"\${")
    return f"'{inside}'"


def _escaped(match: re.Match[str]) -> str:
    return 2 * match[1] if match[1] else rf"{2 * match[2]}\'"
