"""Where the configuration files are: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path


def conf_dir() -> Path:
    """Return the folder of YAML files, for a wheel, an editable install and a plain checkout alike."""
    package = Path(__file__).parent
    for folder in (package / "conf", package.parent / "conf"):
        if (folder / "distill.yaml").is_file():
            return folder
    raise FileNotFoundError(
        f"kdfeatures is installed without its configuration: no conf/distill.yaml in or beside {package}."
    )
