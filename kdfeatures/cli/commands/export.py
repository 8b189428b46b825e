"""kdfeatures export: a model as ONNX and as int8, scored and timed beside the torch model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.config.load import export_settings
from kdfeatures.config.paths import NOWHERE
from kdfeatures.pipelines.export import export


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options."""
    export_settings(cfg, NOWHERE)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Write both files, table.md and results.json."""
    return export(export_settings(cfg, output_dir), output_dir)
