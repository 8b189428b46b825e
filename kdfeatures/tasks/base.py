"""What a kind of task says; whatever else a run does is the same for all kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from torch import Tensor
from transformers import EvalPrediction, PreTrainedTokenizerBase

from kdfeatures.evaluation.predict import Predictor
from kdfeatures.tasks.task import Task

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


class TaskType(ABC):
    """Head, inputs and scores of one kind of task.

    auto        transformers' Auto class of a model with the head
    pipeline    the Hub's name for what such a model does
    untrained   what a checkpoint that lacks the head is told, and
    remedy      what to do then
    per_token   whether a model gives logits for tokens, (B, L, C), or for examples, (B, C)
    scores      whether models are scored at all
    repeats     whether an example is the same in every batch, so that a teacher's features for it can be kept

    `answers` are what is kept of a model's outputs on a split: an array with one row for each label that is scored,
    (examples, C) or (words, C), in the order of the split. A kind that has no use for a method leaves it out.
    """

    auto: ClassVar[Any]
    pipeline: ClassVar[str]
    untrained: ClassVar[str]
    remedy: ClassVar[str] = "Fine-tune it first (kdfeatures finetune)."
    per_token: ClassVar[bool]
    scores: ClassVar[bool] = True
    repeats: ClassVar[bool] = True

    @abstractmethod
    def encode(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int) -> Dataset:
        """Return a raw split as model inputs, and `labels` if it has any, cut to max_length tokens and not padded."""

    @abstractmethod
    def collator(self, tokenizer: PreTrainedTokenizerBase, task: Task, *, rows: bool, seed: int) -> Collator:
        """Return what pads encoded examples to a batch.

        rows: for a Distiller. Where a model gives logits for tokens, the batch then says which of them are compared.
        seed: of what is random in a batch.
        """

    def checked(self, dataset: Dataset, task: Task, split: str) -> Dataset:
        """Return a raw split with its labels as class ids or scores; raises UserError for what does not fit."""
        raise NotImplementedError

    def hidden_labels(self, dataset: Dataset, task: Task) -> list[Any]:
        """Return the labels of a raw split that has none, every one of them hidden."""
        raise NotImplementedError

    def predict(
        self,
        model: Predictor,
        dataset: Dataset,
        tokenizer: PreTrainedTokenizerBase,
        columns: Sequence[int] | None,
        *,
        batch_size: int,
        title: str,
    ) -> np.ndarray:
        """Return a model's answers on an encoded split. columns: see kdfeatures.tasks.label_order.reordered."""
        raise NotImplementedError

    def of_cached(self, logits: np.ndarray, dataset: Dataset) -> np.ndarray:
        """Return the answers among cached logits: of all examples, or of all their tokens, (tokens, C)."""
        raise NotImplementedError

    def labels(self, dataset: Dataset) -> np.ndarray:
        """Return the labels that answers are held against."""
        raise NotImplementedError

    def score(self, answers: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        """Return {metric: value} of answers on an encoded split."""
        raise NotImplementedError

    def kept(self, logits: Any, labels: Tensor) -> Any:
        """Return what the Trainer gathers of a batch's logits in an evaluation."""
        return logits

    def trainer_scores(self, output: EvalPrediction, task: Task) -> dict[str, float]:
        """Return the same as `score` from what the Trainer has gathered."""
        raise NotImplementedError

    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterable[dict[str, Any]]:
        """Yield the rows of a file of predictions, for labels that are hidden."""
        raise NotImplementedError
