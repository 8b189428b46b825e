"""What a loss weighs each class with, from the labels that are trained on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset

from kdfeatures.data.subsets import is_labelled
from kdfeatures.errors import UserError
from kdfeatures.losses.labels import BALANCED, HardLabel
from kdfeatures.tasks.task import Task


def set_class_weights(loss: HardLabel, task: Task, examples: Dataset, option: str) -> None:
    """Check the class weights of a loss, which errors call `option`, and balance those that ask for it, in place.

    examples: encoded training examples; those without a label do not count. Raises UserError for a regression, another
    number of weights than classes, and a class that no example has.
    """
    weights = loss.class_weights
    if weights is None:
        return
    if not task.labels:
        raise UserError(f"{option}={weights} weighs classes, but task '{task.name}' has none; leave it out.")
    if not isinstance(weights, str):
        if len(weights) != len(task.labels):
            raise UserError(
                f"{option} has {len(weights)} weights, but task '{task.name}' has {len(task.labels)} classes "
                f"({', '.join(task.labels)}); give one a class."
            )
        return
    counts = class_counts(examples, len(task.labels))
    labelled = int(is_labelled(examples).sum()) if task.outputs == "labels" else None
    missing = [label for label, count in zip(task.labels, counts, strict=True) if not count]
    if missing:
        raise UserError(
            f"{option}={BALANCED} needs examples of every class, but no labelled training example is '{missing[0]}'; "
            "give the weights as a list."
        )
    loss.balance(counts, labelled)


def class_counts(examples: Dataset, classes: int) -> Sequence[int]:
    """Return how many labelled examples, or words, of encoded examples have each class."""
    labels = examples["labels"][:]
    if labels and isinstance(labels[0], list) and isinstance(labels[0][0], float):
        return np.nansum(np.asarray(labels, dtype=np.float64), axis=0).astype(int).tolist()
    flat = np.concatenate([np.atleast_1d(np.asarray(label)) for label in labels]) if labels else np.zeros(0, dtype=int)
    return np.bincount(flat[flat >= 0], minlength=classes).tolist()
