"""One label for a text or a pair of texts: classification and regression."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import ClassLabel, Dataset, Value
from transformers import (
    AutoModelForSequenceClassification,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from kdfeatures.distillation.teacher_outputs import reordered
from kdfeatures.errors import UserError
from kdfeatures.evaluation.metrics import METRICS, Metric, score
from kdfeatures.evaluation.predict import Predictor, predict_logits
from kdfeatures.tasks.base import Collator, TaskType
from kdfeatures.tasks.columns import (
    IGNORE_INDEX,
    UNKNOWN_LABEL,
    check_columns,
    check_no_gaps,
    check_texts,
    class_ids,
    encoded,
)
from kdfeatures.tasks.constant_answers import no_better_than_one_class, no_better_than_the_mean
from kdfeatures.tasks.task import Task


class SequenceTask(TaskType):
    """Text columns and one label column: ids or names of classes, or numbers; labels are (examples,)."""

    auto = AutoModelForSequenceClassification
    pipeline = "text-classification"
    untrained = "was never fine-tuned for classification"
    per_token = False
    takes_pool = True
    metrics: ClassVar[Mapping[str, Metric]] = METRICS  # of rows, by name

    def problem_type(self, task: Task) -> str | None:
        return "regression" if task.is_regression else "single_label_classification"

    def checked(self, dataset: Dataset, task: Task, split: str) -> Dataset:
        """Labels become ClassLabel with the task's names, or float32."""
        check_columns(dataset, task, split)
        check_texts(dataset, task, split)
        feature = dataset.features[task.label_column]
        labels = dataset[task.label_column][:]
        expected, values = self.typed_labels(labels, feature, task, split)
        if feature == expected and values == labels:
            return dataset
        return dataset.remove_columns(task.label_column).add_column(task.label_column, values, feature=expected)

    def typed_labels(self, labels: list[Any], feature: Any, task: Task, split: str) -> tuple[Any, list[Any]]:
        """Return the feature of a checked column of labels, and its values. Raises UserError that names a row."""
        if task.is_regression:
            return Value("float32"), [number(label, row, split) for row, label in enumerate(labels)]
        return ClassLabel(names=list(task.labels)), class_ids(labels, feature, split, task)

    def hidden_labels(self, dataset: Dataset, task: Task) -> list[Any]:
        return [float(UNKNOWN_LABEL) if task.is_regression else UNKNOWN_LABEL] * len(dataset)

    def model_labels(self, labels: list[Any], task: Task) -> list[Any]:
        """Return checked labels as a model's loss takes them."""
        if not task.is_regression:
            return [IGNORE_INDEX if label == UNKNOWN_LABEL else label for label in labels]
        # -1 may be a true score; only a split that holds nothing else hides its scores
        return [float("nan")] * len(labels) if set(labels) == {float(UNKNOWN_LABEL)} else labels

    def encode(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
        """Tokenise to columns input_ids, attention_mask, token_type_ids if the tokenizer makes them, and labels.

        Examples are cut to max_length tokens and not padded: the collator pads each batch. labels: class id, -100
        where hidden; for regression a float, NaN where the whole split is hidden.
        Raises UserError for a missing text, naming its row, and for a max_length that leaves no room for text.
        """
        special = tokenizer.num_special_tokens_to_add(pair=len(task.text) == 2)
        if max_length < special + len(task.text):
            raise UserError(f"max_length={max_length} leaves no room for text beside {special} special tokens")
        labels = self.model_labels(dataset[task.label_column][:], task)

        def tokenize(rows: dict[str, list], indices: list[int]) -> dict[str, Any]:
            check_no_gaps(rows, task.text, indices)
            inputs = tokenizer(*(rows[column] for column in task.text), truncation=True, max_length=max_length)
            return {**inputs, "labels": [labels[index] for index in indices]}

        return encoded(dataset, tokenize)

    def collator(self, tokenizer: PreTrainedTokenizerBase, task: Task, *, rows: bool, seed: int) -> Collator:
        return DataCollatorWithPadding(tokenizer)

    def predict(
        self,
        model: Predictor,
        dataset: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        columns: Sequence[int] | None,
        *,
        task: Task,
        batch_size: int,
        title: str,
    ) -> np.ndarray:
        return reordered(predict_logits(model, dataset, tokenizer, batch_size=batch_size, title=title), columns)

    def of_cached(self, logits: np.ndarray, dataset: Dataset) -> np.ndarray:
        return logits

    def labels(self, dataset: Dataset) -> np.ndarray:
        return np.asarray(dataset["labels"][:])

    def score(self, answers: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        return self.scored(answers, self.labels(dataset), dataset, task)

    def gathered(self, output: EvalPrediction, dataset: Dataset, task: Task) -> np.ndarray:
        return output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions

    def scored(self, logits: np.ndarray, labels: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        """Return {metric: value} of logits against labels, row by row."""
        return score(task.metrics, task.predictions_from_logits(logits), labels, self.metrics)

    def main_score(self, task: Task) -> Callable[[np.ndarray, np.ndarray], float] | None:
        metric = str(task.main_metric)
        return lambda predictions, labels: score(task.metrics, predictions, labels, self.metrics)[metric]

    def no_better(self, answers: np.ndarray, dataset: Dataset, task: Task) -> str | None:
        predictions, labels = task.predictions_from_logits(answers), self.labels(dataset)
        if task.is_regression:
            return no_better_than_the_mean(predictions, labels)
        return no_better_than_one_class(predictions, labels, task)

    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterator[dict[str, Any]]:
        for index, prediction in enumerate(task.predictions_from_logits(answers)):
            yield {"index": index, "prediction": f"{prediction:.3f}" if task.is_regression else task.labels[prediction]}


def number(label: Any, row: int, split: str, of: str = "regression") -> float:
    """Return a label that is a number; raises UserError that names its row, and what needs one, for another."""
    if isinstance(label, bool) or not isinstance(label, (int, float)) or label != label:
        raise UserError(f"row {row} of split '{split}' has the label {label!r}; {of} needs a number")
    return float(label)
