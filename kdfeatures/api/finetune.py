"""`kdfeatures.finetune`: a model trained on labels from Python, as a teacher or as a hard-label student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdfeatures.api.calls import Splits, TaskLike, call, overrides_of
from kdfeatures.config.compose import composed
from kdfeatures.config.load import finetune_settings
from kdfeatures.pipelines.finetune import run_finetuning
from kdfeatures.runs.run_results import RunResults


def finetune(
    task: TaskLike,
    *,
    output_dir: str | Path,
    model: str | Path | None = None,
    dataset: Splits | None = None,
    data_path: str | Path | None = None,
    data: Mapping[str, Any] | None = None,
    trainer: Mapping[str, Any] | None = None,
    seed: int = 1,
    split: str = "validation",
    existing: str = "refuse",
    overrides: Sequence[str] = (),
) -> RunResults | None:
    """Train a model on the labelled examples of a task and score it, as `kdfeatures finetune` does.

    Args:
        task, output_dir, dataset, data_path, data, trainer, seed, split, existing, overrides: see kdfeatures.distill.
        model: folder or Hub id of a pretrained encoder; None starts the small one of conf/model/embedded.yaml from
            random weights, for tasks that the package generates.

    Returns:
        What results.json holds; of several processes the first returns it, the others None.

    Raises:
        ConfigError: (UserError is one) before any training starts.
    """
    options = call(
        task,
        output_dir,
        dataset=dataset,
        data_path=data_path,
        seed=seed,
        split=split,
        existing=existing,
        data=data,
        trainer=trainer,
    ).with_values(model=None if model is None else {"path": str(model)})
    config = composed(
        "finetune", Path(output_dir), choices=options.choices, values=options.values, overrides=overrides_of(overrides)
    )
    return run_finetuning(finetune_settings(config), Path(output_dir))
