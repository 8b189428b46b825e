"""A vector for each text, as sentence-transformers makes it; scored by how alike pairs of texts are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset, Value
from transformers import AutoModel, DataCollatorWithPadding, EvalPrediction, PreTrainedTokenizerBase

from kdfeatures.errors import Diverged, UserError
from kdfeatures.evaluation.metrics import METRICS, score
from kdfeatures.evaluation.predict import Predictor, predict_logits
from kdfeatures.tasks.base import Collator, TaskType
from kdfeatures.tasks.columns import UNKNOWN_LABEL, check_no_gaps, check_texts, encoded
from kdfeatures.tasks.constant_answers import compared
from kdfeatures.tasks.kinds.sequence import number
from kdfeatures.tasks.task import Task

TEXT = "text"  # the column of a split in which every text has a row


class EmbeddingTask(TaskType):
    """One or two text columns, whose texts are read one by one, and perhaps a column of how alike two of them are.

    A row of an encoded split is a text; the two texts of a pair follow each other, and both carry the pair's label, NaN
    where hidden. Training reads no labels, and its split needs neither them nor a second text.
    Answers are (pairs, 1): the cosine of both vectors.
    """

    auto: ClassVar[Any] = AutoModel
    pipeline = "sentence-similarity"
    untrained = "is not the encoder that its config.json describes"
    remedy = "Give a checkpoint with all layers."
    per_token = False
    labels_train = False
    learns_labels = False
    takes_pool = True
    columns_of_classes = False

    def checked(self, dataset: Dataset, task: Task, split: str) -> Dataset:
        """Labels become float32; columns that a split does without are left out."""
        texts = [column for column in task.text if column in dataset.column_names]
        if task.text[0] not in texts or not len(dataset):
            raise UserError(
                f"split '{split}' of task '{task.name}' needs texts in its column '{task.text[0]}'; it has "
                f"{len(dataset)} rows of {', '.join(dataset.column_names)}"
            )
        check_texts(dataset, task.with_texts(texts), split)
        if task.label is None or task.label not in dataset.column_names:
            return dataset
        values = [_label(label, row, split) for row, label in enumerate(dataset[task.label][:])]
        known = [value for value in values if value == value]
        if known and len(texts) < len(task.text):
            raise UserError(f"split '{split}' has labels in '{task.label}', but no second text in '{task.text[1]}'")
        return dataset.remove_columns(task.label).add_column(task.label, values, feature=Value("float32"))

    def hidden_labels(self, dataset: Dataset, task: Task) -> list[Any]:
        return [float("nan")] * len(dataset)

    def as_read(self, dataset: Dataset, task: Task) -> tuple[Dataset, Task]:
        columns = [column for column in task.text if column in dataset.column_names]
        if columns == [TEXT]:
            return dataset, task.with_texts(columns)
        kept: dict[str, list[Any]] = {column: dataset[column][:] for column in columns}
        check_no_gaps(kept, columns, range(len(dataset)))
        read = {TEXT: [text for row in zip(*kept.values(), strict=True) for text in row]}
        if task.label is not None and task.label in dataset.column_names:
            read[task.label] = [label for label in dataset[task.label][:] for _ in columns]
        return Dataset.from_dict(read), task.with_texts([TEXT])

    def count(self, dataset: Dataset) -> int:
        return len(dataset) // 2  # what is scored are pairs

    def encode(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
        """Texts that are cut to max_length tokens, with labels where the split has some."""
        special = tokenizer.num_special_tokens_to_add()
        if max_length < special + 1:
            raise UserError(f"max_length={max_length} leaves no room for text beside {special} special tokens")
        (column,) = task.text
        labels = dataset[task.label][:] if task.label in dataset.column_names else [float("nan")] * len(dataset)

        def tokenize(rows: dict[str, list], indices: list[int]) -> dict[str, Any]:
            check_no_gaps(rows, task.text, indices)
            inputs = tokenizer(rows[column], truncation=True, max_length=max_length)
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
        return cosines(predict_logits(model, dataset, tokenizer, batch_size=batch_size, title=title))

    def of_cached(self, logits: np.ndarray, dataset: Dataset) -> np.ndarray:
        return cosines(logits)

    def labels(self, dataset: Dataset) -> np.ndarray:
        return np.asarray(dataset["labels"][::2], dtype=np.float32)

    def score(self, answers: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        return score(task.metrics, answers[:, 0], self.labels(dataset))

    def gathered(self, output: EvalPrediction, dataset: Dataset, task: Task) -> np.ndarray:
        return cosines(output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions)

    def main_score(self, task: Task) -> Callable[[np.ndarray, np.ndarray], float] | None:
        metric = str(task.main_metric)
        return lambda predictions, labels: score(task.metrics, predictions, labels)[metric]

    def no_better(self, answers: np.ndarray, dataset: Dataset, task: Task) -> str | None:
        """By the first metric, a correlation, which of equal answers is 0."""
        metric = task.metrics[0]
        right = METRICS[metric](answers[:, 0], self.labels(dataset))
        return compared(metric, right, 0.0, "giving the same answer")

    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterator[dict[str, Any]]:
        for index, (cosine,) in enumerate(answers):
            yield {"index": index, "prediction": f"{cosine:.6f}"}


def cosines(vectors: np.ndarray) -> np.ndarray:
    """Return the cosine of every two vectors that follow each other, (pairs, 1), from (2 pairs, D)."""
    vectors = np.asarray(vectors, dtype=np.float64)
    broken = int((~np.isfinite(vectors)).any(axis=1).sum())
    if broken:
        raise Diverged(
            f"the vectors of {broken} of {len(vectors)} texts are not finite: its weights or its precision are at "
            "fault; run it in float32, or take another one"
        )
    one, other = vectors[::2], vectors[1::2]
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return ((one * other).sum(axis=1) / np.maximum(lengths, np.finfo(np.float64).tiny))[:, None]


def _label(label: Any, row: int, split: str) -> float:
    if label is None or label != label or label == UNKNOWN_LABEL:
        return float("nan")
    return number(label, row, split, "how alike two texts are")
