"""What a run says of its training: arguments for transformers' Trainer, and those that are the package's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from kdfeatures.errors import UserError, first_line
from kdfeatures.training.fsdp import CONFIG

LOWER_IS_BETTER = ("loss", "perplexity")


@dataclass(frozen=True)
class TrainerSettings:
    """Settings of a training.

    Args:
        arguments: of transformers.TrainingArguments, by name, but for what the run itself decides (folder, seed,
            metric, columns). fsdp is true or false.
        tokens_per_batch: batches of as many like examples as fit, instead of per_device_train_batch_size.
        projection_learning_rate, projection_weight_decay: None takes the student's.
        early_stopping_patience: evaluations without gain; needs load_best_model_at_end.
        threads: of torch while it trains on a CPU; None takes one for a small model, and else as many as torch has.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    tokens_per_batch: int | None = None
    projection_learning_rate: float | None = None
    projection_weight_decay: float | None = None
    early_stopping_patience: int | None = None
    threads: int | None = None

    def changed(self, **arguments: Any) -> TrainerSettings:
        """Return the settings with other arguments, or settings of the package's own."""
        changes = {name: arguments.pop(name) for name in list(arguments) if name in self.__dataclass_fields__}
        current = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return TrainerSettings(**{**current, **changes, "arguments": {**self.arguments, **arguments}})

    def training_arguments(
        self, output_dir: Path, *, metric: str | None, seed: int, find_unused_parameters: bool
    ) -> TrainingArguments:
        """Return the TrainingArguments of a run; raises UserError for what they do not take.

        metric: by which checkpoints are compared, if no other is named; None where nothing is scored, and then nothing
        is evaluated.
        """
        arguments = dict(self.arguments)
        if metric is None:
            arguments["eval_strategy"] = "no"
        best = arguments.pop("metric_for_best_model", None) or metric
        greater = arguments.pop("greater_is_better", None)
        try:
            return TrainingArguments(
                output_dir=str(output_dir),
                seed=seed,
                data_seed=seed,
                use_cpu=not torch.cuda.is_available(),
                metric_for_best_model=best,
                greater_is_better=best not in LOWER_IS_BETTER if greater is None else greater,
                label_names=["labels"],
                remove_unused_columns=False,  # `encode` makes no others
                ddp_find_unused_parameters=find_unused_parameters,
                fsdp_config=dict(CONFIG),  # a copy: TrainingArguments adds to it
                report_to=arguments.pop("report_to", "none"),
                **arguments,
            )
        except (TypeError, ValueError, ImportError) as error:
            raise UserError(f"trainer: {first_line(error)}") from error
