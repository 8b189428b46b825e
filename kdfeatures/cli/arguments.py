"""A command's line: Hydra's flags wherever they stand, its overrides in their order, and what is written shorter."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from kdfeatures.config.compose import quoted
from kdfeatures.errors import UserError

# flags of Hydra's by which other files than those of kdfeatures would say what a command is
REFUSED = {
    "config_path": "would replace the commands' own files; add yours with --config-dir DIR",
    "config_name": "would replace the command's own file; name another command instead",
    "experimental_rerun": "would run a pickled file; repeat the command's overrides",
}
NAMES_A_PATH = {
    "compare": "runs",
    "submission": "file",
    "push": "run",
}  # what their first argument may be without a name
# what `glue` has several of, and how one may say it
LISTS = {name: many for many in ("tasks", "recipes", "seeds", "learning_rates") for name in (many, many[:-1])}
NAMED = ("arms", "per_task")  # of which `glue` has what the user names


def parse_arguments(rest: Sequence[str]) -> argparse.Namespace:
    """Return what Hydra's own parser reads in a command's line, and `shows_only`: whether no job is to run.

    Hydra takes overrides where they are in a row; here flags may stand between them. Raises UserError for flags that
    are none, or would make other files the command's.
    """
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # it would print a usage, and exit
    arguments, unknown = parser.parse_known_intermixed_args(rest)
    if unknown:
        raise UserError(_unknown(unknown[0], rest))
    for name, why in REFUSED.items():
        if getattr(arguments, name) is not None:
            raise UserError(f"--{name.replace('_', '-')} {why}.")
    if arguments.config_dir and not Path(arguments.config_dir).is_dir():
        raise UserError(f"--config-dir={arguments.config_dir}: no such folder.")
    if arguments.resolve and not arguments.cfg:
        raise UserError("--resolve says how --cfg shows a config; give --cfg job too.")
    arguments.shows_only = bool(arguments.cfg or arguments.info or arguments.hydra_help)
    return arguments


def written_out(command: str, overrides: Sequence[str]) -> list[str]:
    """Return overrides as Hydra takes them, where a command lets them be written shorter."""
    overrides = list(overrides)
    if command in NAMES_A_PATH and overrides and (Path(overrides[0]).exists() or not re.match(r"\w+=", overrides[0])):
        overrides[0] = f"{NAMES_A_PATH[command]}={quoted(overrides[0])}"
        if command == "push" and len(overrides) > 1 and not re.match(r"\w+=", overrides[1]):
            overrides[1] = f"repository={quoted(overrides[1])}"
    return _lists(overrides) if command in ("glue", "search") else overrides


def _lists(given: Sequence[str]) -> list[str]:
    """Let a grid's lists be written like those of a sweep, seed=1,2,3 for seeds=[1,2,3], and its NAMED without +."""
    overrides = []
    for text in given:
        name, sign, values = text.partition("=")
        if sign and name.split(".")[0] in NAMED:
            text = f"++{text}"
        if not sign or name not in LISTS:
            overrides.append(text)
            continue
        values = values.strip("[]")
        if LISTS[name] == "recipes":
            overrides.append(f"recipe={values.split(',')[0]}")  # so that overrides of its terms can be composed
        overrides.append(f"{LISTS[name]}=[{values}]")
    return overrides


def _refuse(message: str) -> NoReturn:
    raise UserError(f"{message}; try kdfeatures --help")


def _unknown(flag: str, rest: Sequence[str]) -> str:
    """Return what to say of a flag that is none: what is an option elsewhere is NAME=VALUE here."""
    if not flag.startswith("--"):
        return f"{flag} is no flag of a command; try kdfeatures --help"
    name, _, value = flag.removeprefix("--").partition("=")
    after = rest[rest.index(flag) + 1 : rest.index(flag) + 2]
    if not value and after and not after[0].startswith("-") and "=" not in after[0]:
        value = after[0]
    return f"{flag} is no flag; options are written NAME=VALUE, such as {name.replace('-', '_')}={value or 'VALUE'}"
