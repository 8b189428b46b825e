"""A task's metrics as an `evaluate.Metric`, for those who combine or save results with that library.

In a module of its own, imported where needed: `evaluate` takes seconds to import, and nothing else uses it.
"""

from __future__ import annotations

import datasets
import evaluate
import numpy as np

from kdfeatures.evaluation.metrics import score
from kdfeatures.tasks.task import Task

DESCRIPTION = "The metrics of one task, computed by scikit-learn and scipy."
CITATION = "GLUE: Wang et al. (2019), arXiv:1804.07461"
INPUTS = "predictions, references: class ids, or scores for regression"


class GlueMetric(evaluate.Metric):
    """`compute(predictions=, references=)` returns what `kdfeatures.evaluation.metrics.score` returns for the task.

    Unlike `evaluate.load("glue", ...)` it needs no Hub. It composes with `evaluate.combine`.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        # in memory: the default writes every batch to a cache folder in the user's home
        super().__init__(config_name=task.name, keep_in_memory=True)

    def _info(self) -> evaluate.MetricInfo:
        kind = datasets.Value("float32" if self.task.is_regression else "int64")
        return evaluate.MetricInfo(
            description=DESCRIPTION,
            citation=CITATION,
            inputs_description=INPUTS,
            features=datasets.Features({"predictions": kind, "references": kind}),
        )

    def _compute(self, predictions: list, references: list) -> dict[str, float]:
        return score(self.task.metrics, np.asarray(predictions), np.asarray(references))
