"""Errors that a user can act on: one line that names what was wrong, the value, and the fix."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Bad input. The commands print it as one line, without a traceback."""


class MissingSplit(UserError):
    """The data are there, but not this split of theirs: GLUE copies often lack what has no labels."""


class Diverged(UserError):
    """The model's outputs are not finite."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the choice closest to `word`, or "" when none is close."""
    found = difflib.get_close_matches(str(word), [str(choice) for choice in choices], n=1, cutoff=0.5)
    return f"; did you mean '{found[0]}'?" if found else ""
