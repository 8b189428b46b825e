"""Answers and scores of models on encoded splits."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.cache import FeatureCache, kept_answers, logits_for
from kdfeatures.distillation.teacher_outputs import reordered
from kdfeatures.evaluation.predict import Predictor
from kdfeatures.runtime.threads import torch_threads
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.training.length_batched import LengthBatchedTrainer


def predict_splits(
    task: Task,
    model: Predictor,
    splits: dict[str, Dataset],
    tokenizer: PreTrainedTokenizerBase,
    columns: list[int] | None,
    *,
    batch_size: int,
    title: str,
    keep: bool = False,
) -> dict[str, np.ndarray]:
    """Return the model's answers, as the task's kind has them, on every split. columns: the task's label order.

    keep: of a model of transformers, read what it answered in earlier runs, and keep what it answers now.
    """
    answers = {}
    for name, split in splits.items():
        asked = f"{title} on {name}"
        ask = partial(
            task_type(task).predict,
            model,
            split,
            tokenizer,
            columns,
            task=task,
            batch_size=batch_size,
            title=asked,
        )
        if keep:
            assert isinstance(model, PreTrainedModel)
            answers[name] = kept_answers(
                model, split, tokenizer, columns, ask, task=task, batch_size=batch_size, title=asked
            )
        else:
            answers[name] = ask()
    return answers


def trained_answers(
    task: Task,
    trainer: LengthBatchedTrainer,
    model: PreTrainedModel,
    splits: dict[str, Dataset],
    tokenizer: PreTrainedTokenizerBase,
    *,
    title: str,
) -> dict[str, np.ndarray]:
    """The same as `predict_splits` for a model that was just trained: what its last evaluation has is not asked again.

    In as many threads as it was trained in, so that the answers are the same ones either way.
    """
    given = {name: trainer.answers_on(split) for name, split in splits.items()}
    missing = {name: split for name, split in splits.items() if given[name] is None}
    with torch_threads(trainer.threads):
        batch_size = trainer.args.per_device_eval_batch_size
        predicted = predict_splits(task, model, missing, tokenizer, None, batch_size=batch_size, title=title)
    return {name: answers if answers is not None else predicted[name] for name, answers in given.items()}


def cached_logits(
    task: Task, cache: FeatureCache, splits: dict[str, Dataset], columns: list[int] | None, *, rank: int, world: int
) -> dict[str, np.ndarray]:
    """The same as `predict_splits` for a teacher whose logits, or what they are made of, are kept on disk."""
    kind, answers = task_type(task), {}
    for name, split in splits.items():
        features = cache.features(split, [logits_for(task)], rank=rank, world=world)
        if kind.over_vocabulary:
            decoder = cache.teacher.get_output_embeddings()
            answers[name] = kind.of_decoder_states(features.decoder_states(), decoder, split)
        else:
            answers[name] = reordered(kind.of_cached(features.logits(), split), columns)
    return answers


def scores_of(logits: dict[str, np.ndarray], splits: dict[str, Dataset], task: Task) -> dict[str, dict[str, float]]:
    """Return {split: {metric: value}}."""
    return {name: task_type(task).score(logits[name], split, task) for name, split in splits.items()}


def counts_of(splits: Mapping[str, Dataset], task: Task) -> dict[str, int]:
    """Return how many examples of each split are scored."""
    return {name: task_type(task).count(split) for name, split in splits.items()}
