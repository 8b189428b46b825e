"""kdfeatures evaluate: score a fine-tuned model on a split, or write its predictions where labels are hidden."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.config.load import evaluate_settings
from kdfeatures.config.paths import NOWHERE
from kdfeatures.pipelines.evaluate import run_evaluation


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options."""
    evaluate_settings(cfg, NOWHERE)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Score `model` on `split`; its logits are brought into the task's label order by name."""
    return run_evaluation(evaluate_settings(cfg, output_dir), output_dir).as_dict()
