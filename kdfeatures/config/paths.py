"""Where the configuration files are, beside the package or inside it in a wheel; and whether a folder can be made."""

from __future__ import annotations

import os
from pathlib import Path

from kdfeatures.errors import UserError

NOWHERE = Path("outputs")  # the folder of a run whose options are only checked


def conf_dir() -> Path:
    """Return the folder of YAML files, for a wheel, an editable install and a plain checkout alike."""
    package = Path(__file__).parents[1]
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "distill.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"kdfeatures is installed without its configuration: no conf/distill.yaml in or beside {package}."
    )


def check_folder(folder: Path, what: str) -> None:
    """Raise UserError, which names `what` is to be there, for a folder that is not there and cannot be made."""
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise UserError(f"{what} cannot be made, because {existing} is a file; choose another folder.")
    if not os.access(existing, os.W_OK):
        raise UserError(f"{what} cannot be made in {existing}: permission denied.")
