"""How well two texts fit: one output, as cross-encoders have it, trained with binary cross-entropy or squared error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
from datasets import Dataset, List, Value
from transformers import PreTrainedTokenizerBase

from kdfeatures.errors import UserError
from kdfeatures.evaluation import ranking
from kdfeatures.evaluation.metrics import Metric, score
from kdfeatures.tasks.base import Collator
from kdfeatures.tasks.columns import UNKNOWN_LABEL, without
from kdfeatures.tasks.constant_answers import compared
from kdfeatures.tasks.kinds.sequence import SequenceTask, number
from kdfeatures.tasks.task import MSE, Task

QUERY = "query"  # the column of encoded examples that is equal for the candidates of one query
AT_CHANCE = {"auc": 0.5, "pearson": 0.0, "spearmanr": 0.0}


class RelevanceTask(SequenceTask):
    """One or two text columns and a label: 0 or 1, or a grade that task.scale brings between them.

    Encoded `labels` are (1,) for an example, NaN where hidden; numbers with task.loss=mse, for which grades may be any.
    Examples with the same first text are candidates of one query.
    """

    pipeline = "text-ranking"
    metrics = ranking.METRICS

    def kept_together(self, task: Task) -> str | None:
        return task.text[0] if len(task.text) == 2 else None

    def problem_type(self, task: Task) -> str | None:
        return "regression" if task.loss == MSE else "multi_label_classification"

    def typed_labels(self, labels: list[Any], feature: Any, task: Task, split: str) -> tuple[Any, list[Any]]:
        binary = [metric for metric in task.metrics if metric in ranking.BINARY]
        values = []
        for row, label in enumerate(labels):
            if label is None or label == UNKNOWN_LABEL:
                values.append([float("nan")])
                continue
            value = number(label, row, split, "relevance") / (task.scale or 1.0)
            if task.loss != MSE and not 0 <= value <= 1:
                raise UserError(
                    f"row {row} of split '{split}' has the label {label:g}, which is not between 0 and 1; write the "
                    f"largest one as task.scale, or {UNKNOWN_LABEL} for hidden"
                )
            if binary and value not in (0.0, 1.0):
                raise UserError(
                    f"row {row} of split '{split}' has the label {label:g}, but metric '{binary[0]}' reads 0 and 1; "
                    "use pearson or spearmanr"
                )
            values.append([value])
        if task.loss == MSE:
            return Value("float32"), [value for (value,) in values]
        return List(Value("float32")), values

    def hidden_labels(self, dataset: Dataset, task: Task) -> list[Any]:
        return [float(UNKNOWN_LABEL)] * len(dataset)

    def model_labels(self, labels: list[Any], task: Task) -> list[Any]:
        return labels

    def encode(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
        """As SequenceTask does, and a column QUERY."""
        examples = super().encode(dataset, tokenizer, task, max_length)
        _, queries = np.unique(np.asarray(dataset[task.text[0]][:], dtype=object), return_inverse=True)
        return examples.add_column(QUERY, queries.tolist())

    def collator(self, tokenizer: PreTrainedTokenizerBase, task: Task, *, rows: bool, seed: int) -> Collator:
        pad = super().collator(tokenizer, task, rows=rows, seed=seed)
        return lambda examples: pad([without(example, (QUERY,)) for example in examples])

    def labels(self, dataset: Dataset) -> np.ndarray:
        return np.asarray(dataset["labels"][:], dtype=np.float32).reshape(len(dataset))

    def scored(self, logits: np.ndarray, labels: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        queries = np.asarray(dataset[QUERY][:])
        by_query: Mapping[str, Metric] = {
            name: partial(_of_queries, metric, queries) for name, metric in ranking.BY_QUERY.items()
        }
        known = {**self.metrics, **by_query}
        return score(task.metrics, task.predictions_from_logits(logits), labels.reshape(len(labels)), known)

    def main_score(self, task: Task) -> Callable[[np.ndarray, np.ndarray], float] | None:
        """None where candidates of a query are scored together."""
        return None if set(task.metrics) & set(ranking.BY_QUERY) else super().main_score(task)

    def no_better(self, answers: np.ndarray, dataset: Dataset, task: Task) -> str | None:
        """By the first metric, against what equal scores for all are worth."""
        labels, metric = self.labels(dataset), task.metrics[0]
        right = self.scored(answers, labels, dataset, task)[metric]
        constant = AT_CHANCE.get(metric)
        if constant is None:
            always = (np.full((len(labels), 1), logit) for logit in (-1.0, 1.0))
            constant = max(self.scored(logits, labels, dataset, task)[metric] for logits in always)
        return compared(metric, right, constant, "giving the same score")

    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterator[dict[str, Any]]:
        for index, probability in enumerate(task.predictions_from_logits(answers)):
            yield {"index": index, "prediction": f"{probability:.6f}"}


def _of_queries(metric: Any, queries: np.ndarray, predictions: np.ndarray, labels: np.ndarray) -> float:
    return metric(predictions, labels, queries)
