"""Fewer examples or fewer labels: seeded, balanced as the whole, in the order of the whole."""

from __future__ import annotations

import numpy as np
from datasets import Dataset, Value

from kdfeatures.data import IGNORED
from kdfeatures.errors import UserError
from kdfeatures.progress import no_progress_bars


def subset(dataset: Dataset, examples: int | None, seed: int, *, stratify: str | None = None) -> Dataset:
    """Return `examples` random rows, or the whole for None.

    stratify: a class column whose shares are kept within one example a class. Unlike `hide_labels`, what is
    not chosen is gone. Raises UserError when more are asked for than there are.
    """
    if examples is None:
        return dataset
    _check_count("data.train_examples", examples, len(dataset))
    classes = np.asarray(dataset[stratify][:]) if stratify else np.zeros(len(dataset), dtype=np.int64)
    return dataset.select(_spread(classes, examples, seed))


def hide_labels(dataset: Dataset, labelled: int | None, seed: int) -> Dataset:
    """Keep the `labels` of `labelled` rows and hide the others: few labels, and a pool to distil on.

    dataset: from `encode`. Hidden is -100 for classes, NaN for scores; classes keep their shares among what
    stays labelled. All rows stay, in their order; None hides nothing. Raises UserError when there are fewer
    labels.
    """
    if labelled is None:
        return dataset
    labels = np.asarray(dataset["labels"][:])
    is_regression = np.issubdtype(labels.dtype, np.floating)
    known = np.flatnonzero(~np.isnan(labels) if is_regression else labels != IGNORED)
    _check_count("data.labelled", labelled, len(known))
    classes = np.zeros(len(known), dtype=np.int64) if is_regression else labels[known]
    kept = known[_spread(classes, labelled, seed)]
    return _with_labels(dataset, labels, kept)


def without_labels(dataset: Dataset) -> Dataset:
    """Hide the `labels` of all rows. dataset: from `encode`."""
    return _with_labels(dataset, np.asarray(dataset["labels"][:]), np.empty(0, dtype=np.int64))


def _with_labels(dataset: Dataset, labels: np.ndarray, kept: np.ndarray) -> Dataset:
    hidden = np.full_like(labels, np.nan if np.issubdtype(labels.dtype, np.floating) else IGNORED)
    hidden[kept] = labels[kept]
    kind = Value(dataset.features["labels"].dtype)
    with no_progress_bars():  # rows chosen by `subset` are copied here
        return dataset.remove_columns("labels").add_column("labels", hidden.tolist(), feature=kind)


def _spread(classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return `count` sorted rows: of a random order, sorted by class, every (rows / count)-th."""
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    # evenly spaced positions give each class its share, rounded up or down
    return np.sort(by_class[(np.arange(count) * len(classes)) // count])


def _check_count(name: str, count: int, available: int) -> None:
    if not 1 <= count <= available:
        raise UserError(f"{name}={count} must lie between 1 and the {available} there are")
