"""kdfeatures cache: compute ahead, and keep on disk, what distill runs with the same teacher and data will need."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.config.load import cache_run_settings
from kdfeatures.config.paths import NOWHERE
from kdfeatures.pipelines.fill_cache import fill_cache
from kdfeatures.pipelines.plan import plan_stages


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options, and by the configs of the models that it names."""
    plan_stages(cache_run_settings(cfg, NOWHERE).distillation, NOWHERE)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Fill the cache with what recipe, mapping and `more` take from the teacher; several processes share the work."""
    return fill_cache(cache_run_settings(cfg, output_dir))
