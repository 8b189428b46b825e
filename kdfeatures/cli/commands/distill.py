"""kdfeatures distill: train a student on a teacher's features, logits and the labels, in one stage or several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.config.load import distill_settings
from kdfeatures.config.paths import NOWHERE
from kdfeatures.pipelines.distill import run_distillation
from kdfeatures.pipelines.plan import plan_stages


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options, and by the configs of the models that it names."""
    plan_stages(distill_settings(cfg, NOWHERE), NOWHERE)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any] | None:
    """Distil `teacher` into `student` by the recipe's terms and stages. Everything is checked before training."""
    results = run_distillation(distill_settings(cfg, output_dir), output_dir)
    return None if results is None else results.as_dict()
