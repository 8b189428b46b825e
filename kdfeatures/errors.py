"""Errors that a user can act on: one line that names what was wrong, the value, and the fix."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any, NoReturn


class UserError(ValueError):
    """Bad input. The commands print it as one line, without a traceback."""


class ConfigError(UserError):
    """An argument that cannot be, or two things that do not fit, in the words of Python.

    Who called by other names translates it: the commands turn `key` and `facts` into the option that the user wrote
    (kdfeatures.config.option_errors).

    argument, value: of the call that was refused; None where it is not one argument alone. problem: what is wrong with
    it. hint: what to do, or "". key: what the error is called where it is translated; section: of a config, that the
    argument belongs to; facts: what a translation needs.
    """

    def __init__(
        self,
        problem: str,
        *,
        argument: str | None = None,
        value: Any = None,
        hint: str = "",
        key: str | None = None,
        section: str | None = None,
        **facts: Any,
    ) -> None:
        self.argument, self.value, self.problem, self.hint = argument, value, problem, hint
        self.key, self.section, self.facts = key, section, facts
        super().__init__(self.said())

    def said(self, prefix: str = "") -> str:
        """Return the line, with the argument called `prefix` and its name."""
        what = "" if self.argument is None else f"{prefix}{self.argument}={self.value} "
        return f"{what}{self.problem}{f'; {self.hint}' if self.hint else ''}."


class MissingSplit(UserError):
    """The data are there, but not this split of theirs: GLUE copies often lack what has no labels."""


class Diverged(UserError):
    """The model's outputs are not finite."""


class Stopped(KeyboardInterrupt):
    """Ctrl-C or another signal ended the run. saved: whether a checkpoint was written for it."""

    def __init__(self, signal: int, *, saved: bool) -> None:
        self.signal, self.saved = signal, saved
        super().__init__(f"stopped by signal {signal}")


def stop_at_once(number: int, frame: Any) -> NoReturn:
    """A signal handler that raises Stopped."""
    raise Stopped(number, saved=False)


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the choice closest to `word`, or "" when none is close."""
    matches = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f"; did you mean '{matches[0]}'?" if matches else ""


def first_line(error: Exception) -> str:
    """Return the first line of what an error says, without what would colour a terminal; else what it is called."""
    lines = re.sub(r"\x1b\[[0-9;]*m", "", str(error)).strip().splitlines()
    return lines[0] if lines else type(error).__name__
