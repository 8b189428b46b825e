"""kdfeatures distill: train a student on a teacher's features, logits and the labels, in one stage or several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.config.load import distill_settings
from kdfeatures.pipelines.distill import run_distillation


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any] | None:
    """Distil `teacher` into `student` by the recipe's terms and stages. Everything is checked before training."""
    results = run_distillation(distill_settings(cfg, output_dir), output_dir)
    return None if results is None else results.as_dict()
