"""Print the lowest versions that setup.cfg admits, as constraints for pip: `make test-lowest` installs these.

    python tests/lowest_versions.py         # torch==2.8 transformers==5.23 ...
    python tests/lowest_versions.py torch   # torch as constraints.txt has it, the others at their lowest

What setup.cfg does not name has whatever version pip chooses beside these.
"""

from __future__ import annotations

import configparser
import re
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def requirements() -> list[str]:
    """Return the lines of install_requires and of all extras of setup.cfg."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    blocks = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    return [line for block in blocks for line in block.split("\n") if line.strip()]


def name_of(requirement: str) -> str:
    """Return the package that a line names, in lower case."""
    return _NAME.match(requirement).group().lower()


def lowest_of(requirement: str) -> str | None:
    """Return the version after >=, None where a line has none."""
    bound = re.search(r">=\s*([\w.]+)", requirement.partition(";")[0])
    return bound and bound.group(1)


def constraints(kept: Iterable[str] = ()) -> list[str]:
    """Return NAME==LOWEST for each line with a lower bound; those in `kept` as constraints.txt has them."""
    tested = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines() if "==" in line
    )
    lowest = {name_of(line): lowest_of(line) for line in requirements()}
    return [
        f"{name}=={tested[name] if name in kept else version}"
        for name, version in lowest.items()
        if version is not None or name in kept
    ]


if __name__ == "__main__":
    print("\n".join(constraints(sys.argv[1:])))
