"""A data collator that puts cached teacher features beside the inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from datasets import Dataset
from torch import Tensor

from kdfeatures.cache.key import MASK
from kdfeatures.cache.reader import CachedFeatures
from kdfeatures.data.stored_predictions import ROW
from kdfeatures.evaluation.encoded import no_progress_bars
from kdfeatures.mapping.pairs import DEFAULT_TEACHER


def with_rows(examples: Dataset) -> Dataset:
    """Return the examples, each with its position as the cached features have it, to survive any shuffling."""
    with no_progress_bars():
        return examples.add_column(ROW, list(range(len(examples))))


class CachedTeachers:
    """The cached features of several teachers for the same examples, by the teachers' names."""

    def __init__(self, cached: Mapping[str, CachedFeatures]) -> None:
        self.cached = dict(cached)

    def batch(self, rows: Sequence[int], mask: Tensor, masks: Mapping[str, Tensor] | None = None) -> dict[str, Any]:
        """Return what `CachedFeatures.batch` gives, for each teacher. masks: of those that read their own tokens."""
        masks = masks or {}
        return {name: features.batch(rows, masks.get(name, mask)) for name, features in self.cached.items()}


class Batches(Protocol):
    """What gives the `teacher_features` of a batch: CachedFeatures, CachedTeachers or StoredOutputs."""

    def batch(self, rows: Sequence[int], mask: Tensor) -> dict[str, Any]: ...


class CachedCollator:
    """Pads by another collator, and adds `teacher_features` to batches of examples from `with_rows`."""

    def __init__(self, pad: Callable[[list[dict[str, Any]]], dict[str, Any]], cached: Batches) -> None:
        self.pad, self.cached = pad, cached

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        rows = [example[ROW] for example in examples if ROW in example]
        batch = self.pad([{name: value for name, value in example.items() if name != ROW} for example in examples])
        if not rows:
            return batch
        masks = {name: its[MASK] for name, its in batch.get("teacher_inputs", {}).items()}
        if isinstance(self.cached, CachedTeachers):
            batch["teacher_features"] = self.cached.batch(rows, batch[MASK], masks)
        else:
            batch["teacher_features"] = self.cached.batch(rows, masks.get(DEFAULT_TEACHER, batch[MASK]))
        return batch
