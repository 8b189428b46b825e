"""kdfeatures explain: what each term of a distillation compares, how it counts, and its gradient on the student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.cli.commands.distill import check
from kdfeatures.config.load import distill_settings
from kdfeatures.pipelines.explain import explain

__all__ = ["check", "run"]


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Print a report on every stage of a `kdfeatures distill` with the same config, and return them by name."""
    return explain(distill_settings(cfg), None if cfg.output_dir is None else Path(cfg.output_dir))
