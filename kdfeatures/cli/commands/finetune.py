"""kdfeatures finetune: train a classifier on labels, as a teacher or as a hard-label student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.config.load import finetune_settings
from kdfeatures.config.paths import NOWHERE
from kdfeatures.pipelines.finetune import run_finetuning
from kdfeatures.pipelines.plan import plan_finetuning


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options, and by the config of the model that it names."""
    plan_finetuning(finetune_settings(cfg, NOWHERE), NOWHERE)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any] | None:
    """Fine-tune `model` on the labelled examples of `task`; the folder is then a teacher for `distill`."""
    results = run_finetuning(finetune_settings(cfg, output_dir), output_dir)
    return None if results is None else results.as_dict()
