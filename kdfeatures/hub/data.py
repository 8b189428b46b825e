"""At which commits this process read data of the Hub."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kdfeatures.hub.models import COMMIT

_commits: dict[tuple[str, str | None], str] = {}


def remember_commit(name: str, revision: str | None, splits: Mapping[str, Any]) -> None:
    """Keep which commit a dataset's splits are of: `datasets` names a folder of its cache by it. A stream has none."""
    files = [file["filename"] for split in splits.values() for file in getattr(split, "cache_files", [])]
    folders = {Path(file).parent.name for file in files}
    commits = [folder for folder in folders if COMMIT.fullmatch(folder)]
    if len(commits) == 1:
        _commits[name, revision] = commits[0]


def commit_of_data(name: str, revision: str | None = None) -> str | None:
    """Return the commit that this process read a dataset at last; None for one that it has not read, or not whole."""
    return _commits.get((name, revision))
