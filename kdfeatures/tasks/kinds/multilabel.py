"""Any number of labels for a text or a pair of texts, each true or not whatever the others are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from datasets import ClassLabel, Dataset, List, Value

from kdfeatures.errors import UserError, nearest
from kdfeatures.evaluation import multilabel
from kdfeatures.tasks.columns import UNKNOWN_LABEL, classes, known_class
from kdfeatures.tasks.constant_answers import compared
from kdfeatures.tasks.kinds.sequence import SequenceTask
from kdfeatures.tasks.label_order import by_name
from kdfeatures.tasks.task import LABELS, Task

TRUE, FALSE = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no", "")
HIDDEN = (None, UNKNOWN_LABEL, str(UNKNOWN_LABEL))


class MultilabelTask(SequenceTask):
    """Text columns, and labels as lists of names or ids, as one string of names, or a column of 0 and 1 for each.

    Encoded `labels` are (C,) for an example, 1 for those it has and 0 for the others, all NaN where they are hidden.
    """

    metrics = multilabel.METRICS

    def problem_type(self, task: Task) -> str | None:
        return "multi_label_classification"

    def with_labels(self, dataset: Dataset, task: Task) -> Dataset:
        """A column for each label becomes one column of lists; a split that has none of them stays without."""
        present = [label for label in task.labels if label in dataset.column_names]
        if task.label is not None or not present:
            return dataset
        missing = [label for label in task.labels if label not in present]
        if missing:
            raise UserError(
                f"the data of task '{task.name}' have a column for the label {present[0]}, but none for {missing[0]}"
                f"{nearest(missing[0], dataset.column_names)} (they have {', '.join(dataset.column_names)}); with "
                "lists of labels in one column give its name as task.label"
            )
        rows = list(zip(*(dataset[label][:] for label in task.labels), strict=True))
        values = [_of_columns(row, number, task) for number, row in enumerate(rows)]
        return dataset.remove_columns(list(task.labels)).add_column(LABELS, values, feature=List(Value("float32")))

    def typed_labels(self, labels: list[Any], feature: Any, task: Task, split: str) -> tuple[Any, list[Any]]:
        expected = List(Value("float32"))
        if task.label is None:
            return expected, labels
        if isinstance(feature, List) and isinstance(feature.feature, ClassLabel):
            position = by_name(task.labels, feature.feature.names)
            if len(position) != len(task.labels):
                raise UserError(
                    f"the data of task '{task.name}' have the labels {', '.join(feature.feature.names)}, but "
                    f"task.labels is {', '.join(task.labels)}; make them equal"
                )
            names = feature.feature.names
            labels = [None if row is None else [task.labels[position[names[n]]] for n in row] for row in labels]
        return expected, [_of_list(label, row, task, split) for row, label in enumerate(labels)]

    def hidden_labels(self, dataset: Dataset, task: Task) -> list[Any]:
        return [[float("nan")] * task.num_labels] * len(dataset)

    def model_labels(self, labels: list[Any], task: Task) -> list[Any]:
        return labels

    def labels(self, dataset: Dataset) -> np.ndarray:
        return np.asarray(dataset["labels"][:], dtype=np.float32)

    def no_better(self, answers: np.ndarray, dataset: Dataset, task: Task) -> str | None:
        """By the first metric, against none of the labels, all of them, and those that most texts have."""
        labels, metric = self.labels(dataset), task.metrics[0]
        known = multilabel.METRICS[metric]
        always = (np.zeros(labels.shape[1]), np.ones(labels.shape[1]), labels.mean(axis=0) > 0.5)
        constant = max(known(np.broadcast_to(answer, labels.shape), labels) for answer in always)
        right = known(task.predictions_from_logits(answers), labels)
        return compared(metric, right, constant, "answering the best one set of labels")

    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterator[dict[str, Any]]:
        for index, chosen in enumerate(task.predictions_from_logits(answers)):
            names = [label for label, is_true in zip(task.labels, chosen, strict=True) if is_true]
            yield {"index": index, "prediction": (task.separator or "|").join(names)}


def _of_list(given: Any, row: int, task: Task, split: str) -> list[float]:
    """Return 0 or 1 for each label from a list of names or ids, or a string of names."""
    if given is None or given == str(UNKNOWN_LABEL) or (isinstance(given, list) and given == [UNKNOWN_LABEL]):
        return [float("nan")] * task.num_labels
    if isinstance(given, str):
        if task.separator is None:
            parts = [given] if given.strip() else []
        else:
            parts = [part for part in given.split(task.separator) if part.strip()]
    elif isinstance(given, list):
        parts = given
    else:
        raise UserError(
            f"row {row} of split '{split}' has the labels {given!r}; task '{task.name}' takes lists of labels, or a "
            "string of them with task.separator between two"
        )
    values = [0.0] * task.num_labels
    for part in parts:
        class_id = known_class(part, task)
        if class_id is None:
            wrong = f"row {row} of split '{split}' has the label {part!r}; task '{task.name}' takes {classes(task)}"
            separators = "" if task.separator is not None or not isinstance(part, str) else _separator_hint(part, task)
            raise UserError(f"{wrong}{separators or nearest(str(part), task.labels)}")
        if values[class_id] and not isinstance(part, str):
            raise UserError(
                f"row {row} of split '{split}' has the labels {given!r}, in which {part!r} comes twice; a list holds "
                f"the ids or names of the labels that are true, of {classes(task)}; for 0 or 1 of each label give each "
                "a column of its own"
            )
        values[class_id] = 1.0
    return values


def _separator_hint(text: str, task: Task) -> str:
    """Return what to write where a string holds several labels."""
    if text.strip().startswith("["):
        return "; a list in a CSV is a string, so write A|B and task.separator='|', or give JSON lines"
    for sign in ("|", ",", ";", " "):
        parts = [part.strip() for part in text.split(sign)]
        if len(parts) > 1 and all(part in task.labels for part in parts):
            return f"; it holds several, so write task.separator='{sign}'"
    return ""


def _of_columns(row: tuple, number: int, task: Task) -> list[float]:
    """Return 0 or 1 for each label from its own column."""
    if all(value in HIDDEN for value in row):
        return [float("nan")] * len(row)
    return [_truth(value, label, number) for label, value in zip(task.labels, row, strict=True)]


def _truth(value: Any, label: str, row: int) -> float:
    written = str(value).strip().lower()
    if value is not None and written in TRUE + FALSE:
        return float(written in TRUE)
    raise UserError(
        f"row {row} has {value!r} in the column '{label}'; a label's column holds 0 or 1, and {UNKNOWN_LABEL} in all "
        "of them where the labels are hidden"
    )
