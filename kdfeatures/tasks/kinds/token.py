"""One label for every word of a text: named entities, parts of speech."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import pyarrow.compute
from datasets import ClassLabel, Dataset, List
from transformers import (
    AutoModelForTokenClassification,
    DataCollatorForTokenClassification,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from kdfeatures.distillation.teacher_outputs import reordered
from kdfeatures.errors import UserError
from kdfeatures.evaluation.entity_f1 import entity_f1
from kdfeatures.evaluation.metrics import METRICS, score
from kdfeatures.evaluation.predict import Predictor, logit_batches
from kdfeatures.tasks.base import Collator, TaskType
from kdfeatures.tasks.columns import IGNORE_INDEX, UNKNOWN_LABEL, check_columns, class_ids, encoded
from kdfeatures.tasks.constant_answers import no_better_than_one_class
from kdfeatures.tasks.task import ENTITY_F1, Task
from kdfeatures.tasks.word_alignment import first_pieces


class TokenTask(TaskType):
    """A column of words and one of labels, ids or names. Encoded `labels` are (L,) for an example: the class id at the
    first piece of each word, UNKNOWN_LABEL where the word's class is not known, and IGNORE_INDEX at all other tokens.

    Answers are (words, C): words behind max_length have none.
    """

    auto = AutoModelForTokenClassification
    pipeline = "token-classification"
    untrained = "was never fine-tuned for token classification"
    per_token = True

    def checked(self, dataset: Dataset, task: Task, split: str) -> Dataset:
        """Labels become lists of ClassLabel with the task's names."""
        check_columns(dataset, task, split)
        (column,) = task.text
        for name, contents in ((column, "words"), (task.label_column, "labels")):
            if not isinstance(dataset.features[name], List):
                raise UserError(
                    f"column '{name}' of split '{split}' must hold a list of {contents} for each text; JSON lines and "
                    "parquet can, CSV cannot"
                )
        if getattr(dataset.features[column].feature, "dtype", None) != "string":
            raise UserError(f"column '{column}' of split '{split}' must hold lists of words (strings)")
        feature, labels = dataset.features[task.label_column].feature, dataset[task.label_column][:]
        for row, (words, tags) in enumerate(zip(dataset[column][:], labels, strict=True)):
            if not words or tags is None or len(words) != len(tags):
                raise UserError(
                    f"row {row} of split '{split}' has {len(words or ())} words and {len(tags or ())} labels; give "
                    "every word one, and leave out empty rows"
                )
        expected = List(ClassLabel(names=list(task.labels)))
        if dataset.features[task.label_column] == expected:
            return dataset
        rows = [row for row, tags in enumerate(labels) for _ in tags]
        flat = class_ids([label for tags in labels for label in tags], feature, split, task, rows)
        ends = np.cumsum([len(tags) for tags in labels]).tolist()
        values = [flat[end - len(tags) : end] for tags, end in zip(labels, ends, strict=True)]
        return dataset.remove_columns(task.label_column).add_column(task.label_column, values, feature=expected)

    def hidden_labels(self, dataset: Dataset, task: Task) -> list[Any]:
        (column,) = task.text
        if column not in dataset.column_names:
            return [[]] * len(dataset)  # which the check of columns tells
        return [[UNKNOWN_LABEL] * len(words or ()) for words in dataset[column][:]]

    def encode(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
        """Tokenise to input_ids, attention_mask, token_type_ids if the tokenizer makes them, and labels.

        Words behind max_length tokens are cut off. Raises UserError for a max_length that leaves no room for a word,
        and for a tokenizer that does not tell which word a token is of.
        """
        special = tokenizer.num_special_tokens_to_add()
        if max_length < special + 1:
            raise UserError(f"max_length={max_length} leaves no room for words beside {special} special tokens")
        labels = dataset[task.label_column][:]
        (column,) = task.text

        def tokenize(rows: dict[str, list], indices: list[int]) -> dict[str, Any]:
            inputs, firsts = first_pieces(rows[column], tokenizer, max_length)
            aligned_labels = [
                [IGNORE_INDEX if word is None else labels[index][word] for word in words]
                for index, words in zip(indices, firsts, strict=True)
            ]
            return {**inputs, "labels": aligned_labels}

        return encoded(dataset, tokenize)

    def collator(self, tokenizer: PreTrainedTokenizerBase, task: Task, *, rows: bool, seed: int) -> Collator:
        return TokenCollator(tokenizer, rows=rows)

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
        labels, counts = _flat_labels(dataset)
        starts = np.cumsum(counts) - counts
        results: list[np.ndarray] = [np.empty(0)] * len(dataset)
        for rows, mask, logits in logit_batches(model, dataset, tokenizer, batch_size=batch_size, title=title):
            for row, real, row_logits in zip(rows, mask, logits, strict=True):
                is_scored = labels[starts[row] : starts[row] + counts[row]] != IGNORE_INDEX
                results[row] = row_logits[real].float().cpu().numpy()[is_scored]
        return reordered(np.concatenate(results), columns)

    def of_cached(self, logits: np.ndarray, dataset: Dataset) -> np.ndarray:
        return logits[_flat_labels(dataset)[0] != IGNORE_INDEX]

    def labels(self, dataset: Dataset) -> np.ndarray:
        labels, _ = _flat_labels(dataset)
        return labels[labels != IGNORE_INDEX]

    def score(self, answers: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        """Words whose class is not known are left out."""
        labels, counts = _flat_labels(dataset)
        lengths = np.add.reduceat(labels >= 0, np.cumsum(counts) - counts, dtype=np.int64)
        entity_metric = {ENTITY_F1: partial(entity_f1, tags=task.labels, lengths=lengths)}
        truth = self.labels(dataset)
        predictions = task.predictions_from_logits(answers[truth != UNKNOWN_LABEL])
        return score(task.metrics, predictions, truth[truth != UNKNOWN_LABEL], METRICS | entity_metric)

    def gathered(self, output: EvalPrediction, dataset: Dataset, task: Task) -> np.ndarray:
        logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        labels, counts = _flat_labels(dataset)
        real = np.arange(logits.shape[1]) < counts[:, None]
        return logits[real][labels != IGNORE_INDEX]

    def no_better(self, answers: np.ndarray, dataset: Dataset, task: Task) -> str | None:
        truth = self.labels(dataset)
        known = truth != UNKNOWN_LABEL if (truth != UNKNOWN_LABEL).any() else ...
        return no_better_than_one_class(task.predictions_from_logits(answers[known]), truth[known], task)

    def uncut(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task) -> list[list[int]]:
        (column,) = task.text
        return tokenizer(dataset[column][:], truncation=False, verbose=False, is_split_into_words=True)["input_ids"]

    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterator[dict[str, Any]]:
        labels, counts = _flat_labels(dataset)
        words = np.add.reduceat(labels != IGNORE_INDEX, np.cumsum(counts) - counts, dtype=np.int64)
        class_ids = iter(task.predictions_from_logits(answers))
        for index, count in enumerate(words):
            for word in range(count):
                yield {"index": index, "word": word, "prediction": task.labels[next(class_ids)]}


class TokenCollator:
    """Pads inputs and labels. `rows`, (B, L), tells which tokens begin a word, labelled or not."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, *, rows: bool) -> None:
        self.pad = DataCollatorForTokenClassification(tokenizer)
        self.rows = rows

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch = self.pad(examples)
        if self.rows:
            batch["rows"] = batch["labels"] != IGNORE_INDEX
        batch["labels"] = batch["labels"].masked_fill(batch["labels"] == UNKNOWN_LABEL, IGNORE_INDEX)
        return batch


def _flat_labels(dataset: Dataset) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels of all tokens, (tokens,), and the tokens of each example, (examples,)."""
    column = dataset.with_format("arrow")["labels"][:]
    counts = pyarrow.compute.list_value_length(column).to_numpy()
    return pyarrow.compute.list_flatten(column).to_numpy(), counts
