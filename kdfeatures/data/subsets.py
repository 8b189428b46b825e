"""Fewer examples or fewer labels: seeded, balanced as the whole, in the order of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from datasets import Dataset, List, Value

from kdfeatures.errors import UserError
from kdfeatures.evaluation.encoded import no_progress_bars
from kdfeatures.tasks.columns import IGNORE_INDEX, UNKNOWN_LABEL


def subset(dataset: Dataset, examples: int | None, seed: int, *, stratify: str | None = None) -> Dataset:
    """Return `examples` random rows, or the whole for None.

    stratify: a class column whose shares are kept within one example a class. Unlike `hide_labels`, what is
    not chosen is gone. Raises UserError when more are asked for than there are.
    """
    if examples is None:
        return dataset
    _check_count("data.train_examples", examples, len(dataset))
    return dataset.select(_chosen(dataset, examples, seed, stratify))


def hold_out(
    dataset: Dataset, share: float, seed: int, *, stratify: str | None = None, together: str | None = None
) -> tuple[Dataset, Dataset]:
    """Return the dataset without a random `share` of its rows, and these rows; stratify as for `subset`.

    together: a column whose rows of one value stay on one side, such as a query with all its candidates: as many of
    these as come nearest to the share. Raises UserError for a share outside (0, 1), and where it leaves no row on
    either side.
    """
    count = round(share * len(dataset)) if 0 < share < 1 else 0
    if not 0 < count < len(dataset):
        raise UserError(
            f"data.held_out={share} of {len(dataset)} training examples leaves nothing to train or to score on; give a "
            "share between 0 and 1, such as 0.1."
        )
    if together is None:
        held_out = _chosen(dataset, count, seed, stratify)
    else:
        held_out = _whole_groups(dataset[together][:], count, seed)
        if not 0 < len(held_out) < len(dataset):
            raise UserError(
                f"data.held_out={share} cannot be drawn: rows of one '{together}' stay together, and the training "
                "examples have too few of them; give a validation file instead."
            )
    return dataset.select(np.setdiff1d(np.arange(len(dataset)), held_out)), dataset.select(held_out)


def _whole_groups(values: Sequence[str], count: int, seed: int) -> np.ndarray:
    """Return, in their order, the rows of groups drawn at random until they are about `count` rows."""
    _, group_of, sizes = np.unique(np.asarray(values, dtype=object), return_inverse=True, return_counts=True)
    drawn = np.random.default_rng(seed).permutation(len(sizes))
    ends = np.cumsum(sizes[drawn])
    taken = drawn[: int(np.abs(ends - count).argmin()) + 1]
    return np.flatnonzero(np.isin(group_of, taken))


def sample(dataset: Dataset, count: int, seed: int) -> Dataset:
    """Return `count` random rows in random order, or all of fewer: what is measured before training is measured on."""
    return dataset.select(np.random.default_rng(seed).permutation(len(dataset))[:count])


def hide_labels(dataset: Dataset, labelled: int | None, seed: int) -> Dataset:
    """Keep the `labels` of `labelled` rows and hide the others: few labels, and a pool to distil on.

    dataset: from `encode`. Hidden is -100 for classes, NaN for scores, -1 for classes of words; classes of examples
    keep their shares among what stays labelled. All rows stay, in their order; None hides nothing. Raises UserError
    when there are fewer labels.
    """
    if labelled is None:
        return dataset
    labelled_rows = np.flatnonzero(is_labelled(dataset))
    _check_count("data.labelled", labelled, len(labelled_rows))
    is_class = dataset.features["labels"] == Value("int64")
    classes = (
        np.asarray(dataset["labels"][:])[labelled_rows] if is_class else np.zeros(len(labelled_rows), dtype=np.int64)
    )
    return _with_labels(dataset, set(labelled_rows[_spread(classes, labelled, seed)].tolist()))


def without_labels(dataset: Dataset) -> Dataset:
    """Hide the `labels` of all rows. dataset: from `encode`."""
    return _with_labels(dataset, set())


def is_labelled(dataset: Dataset) -> np.ndarray:
    """Return which examples have a label, or a word that has one, boolean (examples,). dataset: from `encode`."""
    if "labels" not in dataset.column_names:
        return np.zeros(len(dataset), dtype=bool)
    labels, feature = dataset["labels"][:], dataset.features["labels"]
    if isinstance(feature, List) and "float" in feature.feature.dtype:
        return np.isfinite(np.asarray(labels, dtype=np.float64).sum(axis=1))
    if isinstance(feature, List):
        return np.array([max(classes) >= 0 for classes in labels])
    labels = np.asarray(labels)
    return ~np.isnan(labels) if np.issubdtype(labels.dtype, np.floating) else labels >= 0


def _with_labels(dataset: Dataset, labelled: set[int]) -> Dataset:
    labels, feature = dataset["labels"][:], dataset.features["labels"]
    visible = [label if row in labelled else _hidden(label) for row, label in enumerate(labels)]
    with no_progress_bars():  # rows chosen by `subset` are copied here
        return dataset.remove_columns("labels").add_column("labels", visible, feature=feature)


def _hidden(label: Any) -> Any:
    if isinstance(label, list) and isinstance(label[0], float):
        return [float("nan")] * len(label)
    if isinstance(label, list):
        return [UNKNOWN_LABEL if class_id >= 0 else class_id for class_id in label]
    return float("nan") if isinstance(label, float) else IGNORE_INDEX


def _chosen(dataset: Dataset, count: int, seed: int, stratify: str | None) -> np.ndarray:
    classes = np.asarray(dataset[stratify][:]) if stratify else np.zeros(len(dataset), dtype=np.int64)
    return _spread(classes, count, seed)


def _spread(classes: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return `count` sorted rows: of a random order, sorted by class, every (rows / count)-th."""
    shuffled = np.random.default_rng(seed).permutation(len(classes))
    by_class = shuffled[np.argsort(classes[shuffled], kind="stable")]
    # evenly spaced positions give each class its share, rounded up or down
    return np.sort(by_class[(np.arange(count) * len(classes)) // count])


def _check_count(name: str, count: int, available: int) -> None:
    if not 1 <= count <= available:
        raise UserError(f"{name}={count} must lie between 1 and the {available} there are")
