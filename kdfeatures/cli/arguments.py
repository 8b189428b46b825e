"""A command's line as Hydra reads it: its flags, and the jobs that a sweep's overrides stand for."""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from typing import NoReturn

from hydra.core.override_parser.types import Override

from kdfeatures.errors import UserError

# flags of Hydra's by which other files than those of kdfeatures would say what a command is: {flags: (name, why)}
REFUSED = {
    ("--config-path", "-cp"): ("config_path", "would replace the commands' own files; add yours with --config-dir DIR"),
    ("--config-name", "-cn"): ("config_name", "would replace the command's own file; name another command instead"),
    ("--experimental-rerun",): ("experimental_rerun", "would run a pickled file; repeat the command's overrides"),
}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; try kdfeatures --help")


def parse_arguments(rest: Sequence[str]) -> argparse.Namespace:
    """Return overrides, multirun and config_dir of a command's line. Raises UserError for a flag that Hydra has not.

    Hydra reads the line itself, later; this is what must be known before.
    """
    parser = _parser()
    arguments, unknown = parser.parse_known_intermixed_args(rest)
    if unknown:
        raise UserError(_unknown(unknown[0], rest))
    for (flag, *_), (name, why) in REFUSED.items():
        if getattr(arguments, name) is not None:
            raise UserError(f"{flag} {why}.")
    arguments.shows_only = any((arguments.cfg, arguments.info, arguments.hydra_help, arguments.shell_completion))
    return arguments


def overrides_first(rest: Sequence[str]) -> list[str]:
    """Return a command's line with its flags at the end: Hydra takes overrides only where they are in a row."""
    overrides = list(_parser().parse_known_intermixed_args(rest)[0].overrides)
    remaining, flags = list(overrides), []
    for text in rest:
        if remaining and text == remaining[0]:
            del remaining[0]
        else:
            flags.append(text)
    return [*overrides, *flags]


def _unknown(flag: str, rest: Sequence[str]) -> str:
    """Return what to say of a flag that is none: what is an option elsewhere is NAME=VALUE here."""
    if not flag.startswith("--"):
        return f"{flag} is no flag of a command; try kdfeatures --help"
    name, _, value = flag.removeprefix("--").partition("=")
    after = rest[rest.index(flag) + 1 : rest.index(flag) + 2]
    if not value and after and not after[0].startswith("-") and "=" not in after[0]:
        value = after[0]
    return f"{flag} is no flag; options are written NAME=VALUE, such as {name.replace('-', '_')}={value or 'VALUE'}"


def _parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--multirun", "-m", action="store_true")
    parser.add_argument("--config-dir", "-cd")
    for flags in (("--hydra-help",), ("--version",), ("--resolve",), ("--run", "-r"), ("--shell-completion", "-sc")):
        parser.add_argument(*flags, action="store_true")
    parser.add_argument("--package", "-p")
    for refused in REFUSED:
        parser.add_argument(*refused)
    parser.add_argument("--cfg", "-c", choices=["job", "hydra", "all"])
    parser.add_argument("--info", "-i", const="all", nargs="?")
    return parser


def jobs_of(overrides: Sequence[Override]) -> list[list[str]]:
    """Return the overrides of every job of a sweep, in Hydra's order. Raises UserError for a sweep without an end."""
    choices = []
    for override in overrides:
        if not override.is_sweep_override():
            choices.append([str(override.input_line)])
        elif override.is_discrete_sweep():
            choices.append([f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()])
        else:
            raise UserError(f"{override.input_line} names no values to try; write them out, NAME=VALUE,VALUE.")
    return [list(job) for job in itertools.product(*choices)]
