"""kdfeatures inspect: one page of what a student has in common with its teacher, layer by layer and head by head."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.config.load import inspect_settings
from kdfeatures.config.paths import NOWHERE
from kdfeatures.pipelines.inspect import inspect


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options."""
    inspect_settings(cfg, NOWHERE)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Write index.html, the PNGs in it and results.json."""
    return inspect(inspect_settings(cfg, output_dir), output_dir)
