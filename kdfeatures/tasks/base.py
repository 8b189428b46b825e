"""What a kind of task says; whatever else a run does is the same for all kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from datasets import Dataset
from torch import Tensor, nn
from transformers import EvalPrediction, PreTrainedConfig, PreTrainedTokenizerBase

from kdfeatures.errors import UserError
from kdfeatures.evaluation.predict import Predictor
from kdfeatures.tasks.label_order import align_labels
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
    over_vocabulary  whether logits are over a vocabulary: a cache keeps the states that they are made of
    cuts        whether what is behind max_length tokens is lost
    labels_train  whether training examples must have a column of labels
    learns_labels whether a model can be fine-tuned by its labels here
    takes_pool  whether further texts without labels can stand beside the training examples
    label_names what a batch calls its labels
    answers_are_logits  whether those of several teachers can be averaged
    columns_of_classes  whether a column of outputs is a class with a name

    `answers` are what is kept of a model's outputs on a split: an array with one row for each label that is scored,
    (examples, C) or (words, C), in the order of the split. A kind that has no use for a method leaves it out.
    """

    auto: ClassVar[Any]
    pipeline: ClassVar[str]
    untrained: ClassVar[str]
    remedy: ClassVar[str] = "Fine-tune it first (kdfeatures finetune)."
    per_token: ClassVar[bool]
    scores: ClassVar[bool] = True
    over_vocabulary: ClassVar[bool] = False
    cuts: ClassVar[bool] = True
    labels_train: ClassVar[bool] = True
    learns_labels: ClassVar[bool] = True
    takes_pool: ClassVar[bool] = False
    columns_of_classes: ClassVar[bool] = True
    label_names: ClassVar[tuple[str, ...]] = ("labels",)
    answers_are_logits: ClassVar[bool] = True

    def problem_type(self, task: Task) -> str | None:
        """Return what transformers calls the loss that a head for this task is trained with; None if it has no say."""
        return None

    def columns(
        self, config: PreTrainedConfig, task: Task, *, whose: str, force: bool, option: str | None
    ) -> list[int] | None:
        """Return which columns of a model's outputs, in which order, are the task's; None leaves them as they are.

        config: the model's. whose, option: how errors name it, and what `force` is called. Raises UserError for outputs
        of other classes or another number, and for a model that was trained with another loss.
        """
        if not (task.has_labels and self.columns_of_classes):
            return None
        expected = self.problem_type(task)
        if not force and expected is not None and config.problem_type not in (None, expected):
            fix = "" if option is None else f", or take it as it is with {option}=true"
            raise UserError(
                f"{whose} has the problem_type {config.problem_type} in its config.json, but task '{task.name}' of "
                f"kind {task.kind} reads outputs as {expected} does; choose a model trained so, or another kind of "
                f"task{fix}"
            )
        return align_labels(config.id2label, task.labels, whose=whose, force=force, option=option)

    def uncacheable(self, task: Task) -> str | None:
        """Return why a teacher's features for an example cannot be kept, and what to do; None where they can."""
        return None

    def kept_together(self, task: Task) -> str | None:
        """Return the column whose rows of one value are not to be parted when some are held out; None for no such."""
        return None

    def with_labels(self, dataset: Dataset, task: Task) -> Dataset:
        """Return a raw split whose labels, if it has any, are in one column."""
        return dataset

    def as_read(self, dataset: Dataset, task: Task) -> tuple[Dataset, Task]:
        """Return a raw split, and its task, with a row for each text that a model reads at once."""
        return dataset, task

    def count(self, dataset: Dataset) -> int:
        """Return how many examples an encoded split has."""
        return len(dataset)

    def uncut(self, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, task: Task) -> Iterable[Sequence[int]]:
        """Return the token ids of rows of a raw split, not cut."""
        texts = (dataset[column][:] for column in task.text)
        return tokenizer(*texts, truncation=False, verbose=False)["input_ids"]

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
        task: Task,
        batch_size: int,
        title: str,
    ) -> np.ndarray:
        """Return a model's answers on an encoded split. columns: see kdfeatures.tasks.label_order.reordered."""
        raise NotImplementedError

    def of_cached(self, logits: np.ndarray, dataset: Dataset) -> np.ndarray:
        """Return the answers among cached logits: of all examples, or of all their tokens, (tokens, C)."""
        raise NotImplementedError

    def of_decoder_states(self, states: Iterable[Tensor], decoder: nn.Linear, dataset: Dataset) -> np.ndarray:
        """Return the answers that a decoder makes of the states before it: of each example, (tokens, D)."""
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

    def gathered(self, output: EvalPrediction, dataset: Dataset, task: Task) -> np.ndarray:
        """Return the answers among what the Trainer has gathered of an encoded split, in its order."""
        raise NotImplementedError

    def no_better(self, answers: np.ndarray, dataset: Dataset, task: Task) -> str | None:
        """Return in words why answers are no better than always the same one; None where they are."""
        raise NotImplementedError

    def main_score(self, task: Task) -> Callable[[np.ndarray, np.ndarray], float] | None:
        """Return the main metric as a function of predictions and labels, row by row, of which some may be drawn anew.

        None where a row is no example by itself, or a score needs more than both.
        """
        return None

    def predictions(self, answers: np.ndarray, dataset: Dataset, task: Task) -> Iterable[dict[str, Any]]:
        """Yield the rows of a file of predictions, for labels that are hidden."""
        raise NotImplementedError
