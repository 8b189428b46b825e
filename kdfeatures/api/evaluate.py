"""`kdfeatures.evaluate`: a fine-tuned model scored from Python."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdfeatures.api.calls import Splits, TaskLike, call, overrides_of
from kdfeatures.config.compose import composed
from kdfeatures.config.load import evaluate_settings
from kdfeatures.pipelines.evaluate import run_evaluation
from kdfeatures.runs.run_results import RunResults


def evaluate(
    task: TaskLike,
    model: str | Path,
    *,
    output_dir: str | Path,
    dataset: Splits | None = None,
    data_path: str | Path | None = None,
    data: Mapping[str, Any] | None = None,
    batch_size: int = 128,
    seed: int = 1,
    split: str = "validation",
    existing: str = "refuse",
    overrides: Sequence[str] = (),
) -> RunResults:
    """Score a model on a split, as `kdfeatures evaluate` does; where labels are hidden its predictions are written.

    Args:
        task, output_dir, dataset, data_path, data, seed, split, existing, overrides: see kdfeatures.distill.
        model: folder or Hub id of a fine-tuned model. Its classes are brought into the task's order by their names.
        batch_size: examples that are scored at a time.

    Returns:
        What results.json holds: `.score`, and `.student.metrics` of every split that was scored.

    Raises:
        ConfigError: (UserError is one) for a model without a head or with other classes, and for missing data.
    """
    options = call(
        task, output_dir, dataset=dataset, data_path=data_path, seed=seed, split=split, existing=existing, data=data
    ).with_values(model={"path": str(model), "batch_size": batch_size})
    config = composed(
        "evaluate", Path(output_dir), choices=options.choices, values=options.values, overrides=overrides_of(overrides)
    )
    return run_evaluation(evaluate_settings(config), Path(output_dir))
