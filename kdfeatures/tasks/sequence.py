"""One label for a text or a pair of texts: classification and regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

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
from kdfeatures.evaluation.metrics import score
from kdfeatures.evaluation.predict import Predictor, predict_logits
from kdfeatures.tasks.base import Collator, TaskType
from kdfeatures.tasks.columns import IGNORE_INDEX, UNKNOWN_LABEL, check_columns, class_ids, encoded
from kdfeatures.tasks.task import Task


class SequenceTask(TaskType):
    """Text columns and one label column: ids or names of classes, or numbers; labels are (examples,)."""

    auto = AutoModelForSequenceClassification
    pipeline = "text-classification"
    untrained = "was never fine-tuned for classification"
    per_token = False

    def checked(self, dataset: Dataset, task: Task, split: str) -> Dataset:
        """Labels become ClassLabel with the task's names, or float32."""
        check_columns(dataset, task, split)
        for column in task.text:
            kind = getattr(dataset.features[column], "dtype", "nested")
            if "string" not in kind:
                raise UserError(f"column '{column}' of split '{split}' must hold text, but holds {kind}")
        feature, labels = dataset.features[task.label], dataset[task.label][:]
        values: Sequence[float]
        if task.is_regression:
            expected, values = Value("float32"), [_score(label, row, split) for row, label in enumerate(labels)]
        else:
            expected = ClassLabel(names=list(task.labels))
            values = class_ids(labels, feature, split, task)
        if feature == expected:
            return dataset
        return dataset.remove_columns(task.label).add_column(task.label, values, feature=expected)

    def hidden_labels(self, dataset: Dataset, task: Task) -> list[Any]:
        return [float(UNKNOWN_LABEL) if task.is_regression else UNKNOWN_LABEL] * len(dataset)

    def encode(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
        """Tokenise to columns input_ids, attention_mask, token_type_ids if the tokenizer makes them, and labels.

        Examples are cut to max_length tokens and not padded: the collator pads each batch. labels: class id, -100
        where hidden; for regression a float, NaN where the whole split is hidden.
        Raises UserError for a missing text, naming its row, and for a max_length that leaves no room for text.
        """
        special = tokenizer.num_special_tokens_to_add(pair=len(task.text) == 2)
        if max_length < special + len(task.text):
            raise UserError(f"max_length={max_length} leaves no room for text beside {special} special tokens")
        labels = _model_labels(dataset[task.label][:], task)

        def tokenize(rows: dict[str, list], indices: list[int]) -> dict[str, Any]:
            for column in task.text:
                if None in rows[column]:
                    row = indices[rows[column].index(None)]
                    raise UserError(f"column '{column}' has no text in row {row}; remove the row or give it text")
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
        batch_size: int,
        title: str,
    ) -> np.ndarray:
        return reordered(predict_logits(model, dataset, tokenizer, batch_size=batch_size, title=title), columns)

    def of_cached(self, logits: np.ndarray, dataset: Dataset) -> np.ndarray:
        return logits

    def labels(self, dataset: Dataset) -> np.ndarray:
        return np.asarray(dataset["labels"][:])

    def score(self, answers: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        return score(task.metrics, task.predictions_from_logits(answers), self.labels(dataset))

    def trainer_scores(self, output: EvalPrediction, task: Task) -> dict[str, float]:
        logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        return score(task.metrics, task.predictions_from_logits(logits), np.asarray(output.label_ids))

    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterator[dict[str, Any]]:
        for index, prediction in enumerate(task.predictions_from_logits(answers)):
            yield {"index": index, "prediction": f"{prediction:.3f}" if task.is_regression else task.labels[prediction]}


def _model_labels(labels: list, task: Task) -> list:
    if not task.is_regression:
        return [IGNORE_INDEX if label == UNKNOWN_LABEL else label for label in labels]
    # -1 may be a true score; only a split that holds nothing else hides its scores
    return [float("nan")] * len(labels) if set(labels) == {float(UNKNOWN_LABEL)} else labels


def _score(label: Any, row: int, split: str) -> float:
    if isinstance(label, bool) or not isinstance(label, (int, float)) or label != label:
        raise UserError(f"row {row} of split '{split}' has the label {label!r}; regression needs a number")
    return float(label)
