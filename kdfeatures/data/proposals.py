"""Classes, their order and metrics of a user's own task, proposed from its training file where they are left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import ClassLabel, List

from kdfeatures.data.files import Columns, FileFormat, read_files
from kdfeatures.errors import UserError, nearest
from kdfeatures.evaluation.entity_f1 import is_bio
from kdfeatures.tasks.columns import UNKNOWN_LABEL
from kdfeatures.tasks.fact_types import check_fact_types
from kdfeatures.tasks.task import ENTITY_F1

MOST_CLASSES = 100  # of text; more distinct values are no classes
MOST_NUMBERS = 20  # of whole numbers; more distinct ones are scores
IMBALANCED = 0.8  # the share of one class from which accuracy alone says little


def proposed(node: Mapping[str, Any], folder: str | Path | None) -> dict[str, Any]:
    """Return `labels` and `metrics` for a task's config that lacks them; what it has stays.

    node: of conf/task/files or token_files, with text, label and files.train. folder: that paths start from. Classes
    are the column's own names, or its distinct values in natural order (numbers by size; O first and B- before I- of
    tags); numbers that are many or not whole are scores. Metrics: accuracy, with f1_macro where one class has over 80%;
    entity_f1 for tags; pearson and spearmanr for scores. Hidden labels count for nothing. Raises UserError where the
    column does not tell, with the option to write.
    """
    if node.get("labels") is not None and node.get("metrics") is not None:
        return {"labels": list(node["labels"]), "metrics": list(node["metrics"])}
    file, label = (node.get("files") or {}).get("train"), str(node["label"])
    if file is None:
        raise UserError("task.labels cannot be proposed without a training file; write task.labels=[...], or [].")
    check_fact_types(node)
    layout = FileFormat(node.get("delimiter"), node.get("encoding"), node.get("quotes"))
    examples = read_files(file, folder, Columns((label,), (label,)), "task.files.train", layout, "train")
    if label not in examples.column_names:
        names = ", ".join(examples.column_names)
        raise UserError(f"'{file}' has no column '{label}'{nearest(label, examples.column_names)} (it has {names}).")
    feature, values = examples.features[label], examples[label][:]
    if isinstance(feature, List):
        feature, values = feature.feature, [tag for tags in values for tag in tags or ()]
    labels = node.get("labels")
    if labels is None:
        is_tags = node.get("kind") == "tokens"
        labels = list(feature.names) if isinstance(feature, ClassLabel) else _classes(values, label, tags=is_tags)
    return {"labels": list(labels), "metrics": node.get("metrics") or _metrics(labels, values, node)}


def _classes(values: Sequence[Any], column: str, *, tags: bool) -> list[str]:
    """Return the class names of a column, none for scores."""
    counts = Counter(value for value in values if value is not None and str(value) not in ("", str(UNKNOWN_LABEL)))
    numbers = [_number(value) for value in counts]
    write = "write task.labels=[...], or [] for scores"
    if len(counts) < 2:
        only = f"only {next(iter(counts))!r}" if counts else "no label"
        raise UserError(f"column '{column}' holds {only}, so its classes cannot be proposed; {write}.")
    if not tags and all(number is not None for number in numbers):
        is_whole = all(number == int(number) for number in numbers if number is not None)
        if len(counts) > MOST_NUMBERS or not is_whole or any(isinstance(value, float) for value in counts):
            return []
    elif len(counts) > MOST_CLASSES or not tags and len(counts) > max(len(values) // 2, 2):
        raise UserError(f"column '{column}' holds {len(counts)} different values, too many to be classes; {write}.")
    names = list(dict.fromkeys(str(value) for value in counts))
    return sorted(names, key=_tag_order if tags else natural_order)


def natural_order(name: str) -> tuple[Any, ...]:
    """Return what sorts names as people do: numbers by size, the rest by letters; a sign in front is one."""
    number = _number(name)
    if number is not None:
        return (0, number, name)
    parts = re.split(r"(\d+)", name)
    return (
        1,
        [(0, int(part), "") if part.isdecimal() and len(part) < 1000 else (1, 0, part.casefold()) for part in parts],
        name,
    )


def _tag_order(name: str) -> tuple[Any, ...]:
    prefix, _, kind = name.partition("-")
    return (name != "O", natural_order(kind), prefix) if is_bio(name) else (True, natural_order(name), "")


def _number(value: Any) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def _metrics(labels: Sequence[str], values: Sequence[Any], node: Mapping[str, Any]) -> list[str]:
    if not labels:
        return ["pearson", "spearmanr"]
    if node.get("kind") == "tokens":
        return [ENTITY_F1] if all(is_bio(label) for label in labels) else ["accuracy"]
    counts = Counter(str(value) for value in values if value is not None and str(value) != str(UNKNOWN_LABEL))
    largest = max(counts.values(), default=0) / max(sum(counts.values()), 1)
    return ["accuracy", "f1_macro"] if largest > IMBALANCED else ["accuracy"]
