"""The scores of a split while a model is trained, and the answers that they are of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import EvalPrediction

from kdfeatures.evaluation.encoded import longest_first


class ValidationScores:
    """The `compute_metrics` of a Trainer whose evaluations take the rows of `split` in the order of `rows`.

    That is the order of kdfeatures.evaluation.predict, so that the batches, and with them the last bits of the answers,
    are those of a model that is asked after training.

    read: makes the answers of what a Trainer has gathered, in the order of the split; see kdfeatures.tasks.base.
    score: makes {metric: value} of answers.
    """

    def __init__(
        self,
        split: Dataset,
        read: Callable[[EvalPrediction], np.ndarray],
        score: Callable[[np.ndarray], dict[str, float]],
    ) -> None:
        self.split, self.rows = split, Rows(longest_first(split))
        self.answers: np.ndarray | None = None  # of the last evaluation
        self._read, self._score = read, score

    def __call__(self, output: EvalPrediction) -> dict[str, float]:
        places = np.argsort(self.rows.order)
        gathered = (_reordered(arrays, places) for arrays in (output.predictions, output.label_ids))
        self.answers = self._read(EvalPrediction(*gathered))
        return self._score(self.answers)


class Rows(Sampler[int]):
    """Rows in the order that they are given in, (examples,)."""

    def __init__(self, order: np.ndarray) -> None:
        self.order = order

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[int]:
        return iter(self.order.tolist())


def _reordered(arrays: Any, places: np.ndarray) -> Any:
    if isinstance(arrays, (tuple, list)):
        return tuple(_reordered(array, places) for array in arrays)
    return None if arrays is None else arrays[places]
