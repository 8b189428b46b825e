"""What a refused command leaves of the folder that Hydra prepared for it: what was there before."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from kdfeatures.runs.manifest import MANIFEST

HYDRA = ".hydra"


@dataclass(frozen=True)
class FolderBefore:
    """A folder as it was before Hydra made it. hydra: the files of its .hydra, None without one.

    root: the folder above it that was there.
    """

    root: Path
    hydra: dict[str, bytes] | None

    @classmethod
    def of(cls, name: str) -> FolderBefore:
        """Note what is there. name: of the folder, in which Hydra may still have to put the time."""
        folder = Path(name.partition("${")[0] if "${" in name else name).absolute()
        root = next(path for path in (folder, *folder.parents) if path.exists())
        files = Path(name) / HYDRA
        return cls(root, {file.name: file.read_bytes() for file in files.iterdir()} if files.is_dir() else None)


def undo(folder: Path, before: FolderBefore | None) -> None:
    """Take back what Hydra wrote to the folder of a command that was refused; empty folders that it made go, too.

    before: None for a job of a sweep: then only a folder goes that has nothing but Hydra's files.
    """
    if not folder.is_dir():
        return
    files = folder / HYDRA
    if before is not None and before.hydra is not None:
        for name, content in before.hydra.items():
            (files / name).write_bytes(content)
        return
    others = [path for path in folder.iterdir() if path != files]
    if not others or (before is not None and not (folder / MANIFEST).exists()):  # or the run had begun
        shutil.rmtree(files, ignore_errors=True)
    emptied = folder.absolute()
    root = emptied.parent if before is None else before.root
    while root in emptied.parents and not any(emptied.iterdir()):
        emptied.rmdir()
        emptied = emptied.parent
