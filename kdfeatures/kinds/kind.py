"""What a kind of task says; whatever else a run does is the same for all kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from transformers import EvalPrediction, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.tasks import Task


class Kind(ABC):
    """Head, inputs and scores of one kind of task.

    auto        transformers' Auto class of a model with the head
    pipeline    the Hub's name for what such a model does
    untrained   what a checkpoint that lacks the head is told
    per_token   whether a model gives logits for tokens, (B, L, C), or for examples, (B, C)

    `answers` are what is kept of a model's outputs on a split: an array with one row for each label that is scored,
    (examples, C) or (words, C), in the order of the split.
    """

    auto: ClassVar[Any]
    pipeline: ClassVar[str]
    untrained: ClassVar[str]
    per_token: ClassVar[bool]

    @abstractmethod
    def checked(self, dataset: Dataset, task: Task, split: str) -> Dataset:
        """Return a raw split with its labels as class ids or scores; raises UserError for what does not fit."""

    @abstractmethod
    def encode(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
        """Return a checked split as model inputs and `labels`, cut to max_length tokens and not padded."""

    @abstractmethod
    def collator(self, tokenizer: PreTrainedTokenizerBase, *, rows: bool) -> Callable[[list[dict]], dict[str, Any]]:
        """Return what pads encoded examples to a batch.

        rows: for a Distiller. Where a model gives logits for tokens, the batch then says which of them are compared.
        """

    @abstractmethod
    def answers(
        self,
        model: PreTrainedModel,
        dataset: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        columns: Sequence[int] | None,
        *,
        batch_size: int,
        title: str,
    ) -> np.ndarray:
        """Return a model's answers on an encoded split. columns: see kdfeatures.labels.reordered."""

    @abstractmethod
    def of_cached(self, logits: np.ndarray, dataset: Dataset) -> np.ndarray:
        """Return the answers among cached logits: of all examples, or of all their tokens, (tokens, C)."""

    @abstractmethod
    def truth(self, dataset: Dataset) -> np.ndarray:
        """Return the labels that answers are held against."""

    @abstractmethod
    def score(self, answers: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        """Return {metric: value} of answers on an encoded split."""

    @abstractmethod
    def trainer_scores(self, output: EvalPrediction, task: Task) -> dict[str, float]:
        """Return the same from what the Trainer gathers in an evaluation."""

    @abstractmethod
    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterable[dict[str, Any]]:
        """Yield the rows of a file of predictions."""
