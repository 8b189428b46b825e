"""What Hydra and a refused command leave behind: nothing that was not there before.

Hydra makes a job's folder before the job starts, and would put its own files there. These are written once the run has
begun, when all is checked; until then the folder is empty, and goes if the job is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kdfeatures.training.distributed import is_first, is_first_here

HYDRA = ".hydra"


def existing_root(name: str) -> Path:
    """Return the folder that is to be made, or the nearest above it that is there. Hydra may put the time in `name`."""
    folder = Path(name.partition("${")[0] if "${" in name else name).absolute()
    return next(path for path in (folder, *folder.parents) if path.exists())


def write_hydra(folder: Path, cfg: DictConfig) -> None:
    """Write what Hydra would have written before the job: how it was called, and with which config."""
    config = HydraConfig.get()
    files = folder / HYDRA
    files.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(cfg, files / "config.yaml")
    (files / "hydra.yaml").write_text(f"hydra:\n{indent(OmegaConf.to_yaml(config), '  ')}", encoding="utf-8")
    OmegaConf.save(config.overrides.task, files / "overrides.yaml")


@contextlib.contextmanager
def folder_of_run(cfg: DictConfig, before: Path | None, folder: Path) -> Iterator[None]:
    """Write Hydra's files once the run in `folder` begins, or has ended; remove a folder that is left empty.

    before: see CheckedCall.
    """
    from kdfeatures.runs.folder import when_begun  # its import takes seconds

    def begun(of_run: Path) -> None:
        if of_run.absolute() == folder.absolute():
            write_hydra(folder, cfg)

    if folder.absolute() == Path.cwd():  # of commands that print; it was there before
        with when_begun(begun):
            yield
        return
    try:
        with when_begun(begun):
            yield
        if is_first() and folder.is_dir() and any(folder.iterdir()) and not (folder / HYDRA).exists():
            write_hydra(folder, cfg)  # of a command that keeps no manifest
    finally:
        if is_first_here():
            remove_empty(folder, before)


def remove_empty(folder: Path, root: Path | None) -> None:
    """Remove a job's folder, and those above it up to `root`, as far as they are empty.

    root: what was there before the job; None for a job of a sweep, whose folder of all jobs stays.
    """
    emptied = folder.absolute()
    root = emptied.parent if root is None else root
    with contextlib.suppress(OSError):  # of one that is not empty
        while root in emptied.parents:
            if emptied.is_dir():
                emptied.rmdir()
            emptied = emptied.parent
