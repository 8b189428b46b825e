"""kdfeatures compare: put the runs below a folder side by side, with what their differences are worth."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from kdfeatures.config.options import CompareOptions, options
from kdfeatures.config.paths import NOWHERE
from kdfeatures.config.schema import plain_config
from kdfeatures.runs.comparison import compare_runs


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options."""
    options(plain_config(cfg, NOWHERE), CompareOptions)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Write comparison.md, .csv, .png, .svg and report.html over all runs below `runs`, a part for each task."""
    comparison = compare_runs(cfg.runs, cfg.baseline, resamples=cfg.resamples, seed=cfg.seed)
    comparison.write(output_dir)
    print(f"\n{comparison}\n\nSaved in {output_dir}; open report.html there in a browser.")
    return {"command": "compare", "rows": [asdict(row) for row in comparison.rows]}
