"""Completion in a shell by Hydra's plugins: of commands, then of the groups, choices and options of the one named."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.cli.arguments import parse_arguments, written_out
from kdfeatures.cli.help import SUMMARIES
from kdfeatures.cli.session import hydra_for
from kdfeatures.errors import UserError

FLAGS = ("-sc", "--shell-completion")
PROGRAM = "kdfeatures"
LINE = "COMP_LINE"  # what the shell says was typed


def complete(overrides: Sequence[str]) -> None:
    """Print what Hydra's plugin for a shell prints for install=SHELL, uninstall=SHELL, or as shells ask, query=SHELL.

    Raises UserError for a shell that has none.
    """
    sys.argv = [PROGRAM]  # what the shell shall complete, also where `python -m kdfeatures` was called
    if not overrides or overrides[0].partition("=")[0] != "query":
        _ask("distill", overrides)
        return
    words = os.environ.get(LINE, "").split()
    typed = words[next((at for at, word in enumerate(words) if os.path.basename(word) == PROGRAM), 0) + 1 :]
    is_new = os.environ.get(LINE, "")[-1:].isspace()
    if not typed or len(typed) == 1 and not is_new:
        print("\n".join(name for name in SUMMARIES if name.startswith("".join(typed))))
        return
    command, *rest = typed
    if command not in SUMMARIES or rest and not is_new and rest[-1].startswith("-"):
        return
    try:
        arguments = parse_arguments(rest)
        whole = arguments.overrides if is_new else arguments.overrides[:-1]
        begun = [""] if is_new else arguments.overrides[-1:]
        # Hydra knows no command and takes no flags between overrides
        os.environ[LINE] = " ".join([PROGRAM, *written_out(command, whole), *begun])
        _ask(command, overrides, arguments.config_dir)
    except (UserError, HydraException, OmegaConfBaseException):
        return  # a line that is not finished may be anything


def _ask(command: str, overrides: Sequence[str], config_dir: str | None = None) -> None:
    with hydra_for(command, config_dir) as made:
        try:
            made.shell_completion(command, list(overrides))
        except ValueError as error:
            text = " ".join(str(error).split())
            raise UserError(f"{text}; write kdfeatures -sc install=bash, zsh or fish.") from error
