"""Text without labels: masked language models, and encoders without a head."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from datasets import Dataset, IterableDataset
from torch import Tensor, nn
from transformers import (
    AutoModel,
    AutoModelForMaskedLM,
    DataCollatorWithPadding,
    EvalPrediction,
    PreTrainedTokenizerBase,
)

from kdfeatures.evaluation.predict import Predictor, logit_batches
from kdfeatures.tasks.base import Collator, TaskType
from kdfeatures.tasks.chunking import TEXTS_AT_ONCE, reader
from kdfeatures.tasks.columns import IGNORE_INDEX, encoded
from kdfeatures.tasks.mlm_masking import MaskingCollator
from kdfeatures.tasks.task import MASKED_ACCURACY, Task

AT_ONCE = 512  # tokens of which logits over a vocabulary are made


class PlainTextTask(TaskType):
    """For terms that read no output: models are encoders without a head, text is as it is, nothing is scored."""

    auto: ClassVar[Any] = AutoModel
    pipeline = "feature-extraction"
    untrained = "is not the encoder that its config.json describes"
    remedy = "Give a checkpoint with all layers."
    per_token = True
    scores = False

    def encode(
        self, dataset: Dataset | IterableDataset, tokenizer: PreTrainedTokenizerBase, task: Task, max_length: int
    ) -> Dataset | IterableDataset:
        """Return examples of at most max_length tokens, as the task's `reading` says; a stream stays one."""
        read = reader(tokenizer, task.text[0], max_length, blocks=task.text_reading.blocks)
        if isinstance(dataset, IterableDataset):
            return dataset.map(read, batched=True, batch_size=TEXTS_AT_ONCE, remove_columns=list(task.text))
        return encoded(dataset, lambda texts, _: read(texts))

    def collator(self, tokenizer: PreTrainedTokenizerBase, task: Task, *, rows: bool, seed: int) -> Collator:
        return DataCollatorWithPadding(tokenizer)


class MaskedTextTask(PlainTextTask):
    """For terms that read outputs: models have an MLM head, text is masked.

    Answers are (masked tokens, 2): the cross-entropy of the token that was masked, and whether it is ranked first.
    """

    auto = AutoModelForMaskedLM
    pipeline = "fill-mask"
    untrained = "has no masked-language-model head"
    remedy = "Give one that has, or take terms that read no outputs, such as recipe=tinybert_general."
    scores = True
    over_vocabulary = True
    answers_are_logits = False

    def uncacheable(self, task: Task) -> str | None:
        if task.text_reading.masked_once:
            return None
        return (
            "masks differ from batch to batch; set task.reading.masked_once=true, which draws them once, or use "
            "cache=off, or terms that read no outputs"
        )

    def collator(self, tokenizer: PreTrainedTokenizerBase, task: Task, *, rows: bool, seed: int) -> Collator:
        return MaskingCollator(tokenizer, task.text_reading.masked, seed=seed, rows=rows)

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
        labels = dataset["labels"][:]
        answers: list[Tensor] = [torch.empty(0)] * len(dataset)
        for rows, mask, logits in logit_batches(model, dataset, tokenizer, batch_size=batch_size, title=title):
            for row, real, row_logits in zip(rows, mask, logits, strict=True):
                truth = torch.tensor(labels[row], device=row_logits.device)
                masked = truth != IGNORE_INDEX
                answers[row] = _losses_and_hits(row_logits[real][masked], truth[masked]).cpu()
        return torch.cat(answers).numpy()

    @torch.no_grad()
    def of_decoder_states(self, states: Iterable[Tensor], decoder: nn.Linear, dataset: Dataset) -> np.ndarray:
        of_masked, truths = [], []
        for of_example, labels in zip(states, dataset["labels"], strict=True):
            truth = torch.tensor(labels)
            of_masked.append(of_example[truth != IGNORE_INDEX])
            truths.append(truth[truth != IGNORE_INDEX])
        answers = []
        for part, truth in zip(torch.cat(of_masked).split(AT_ONCE), torch.cat(truths).split(AT_ONCE), strict=True):
            answers.append(_losses_and_hits(decoder(part.to(decoder.weight)), truth.to(decoder.weight.device)).cpu())
        return torch.cat(answers).numpy()

    def score(self, answers: np.ndarray, dataset: Dataset, task: Task) -> dict[str, float]:
        """Over all masked tokens of the split; the perplexity is the exponential of their mean cross-entropy."""
        loss, accuracy = (float(value) for value in answers.mean(0, dtype=np.float64))
        return {MASKED_ACCURACY: accuracy, "perplexity": math.exp(min(loss, 700.0))}  # beyond, a float has no room

    def kept(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The answers of all tokens, (B, L, 2): the vocabulary is too wide to gather."""
        return _losses_and_hits(logits.flatten(0, 1), labels.flatten()).unflatten(0, labels.shape)

    def gathered(self, output: EvalPrediction, dataset: Dataset, task: Task) -> np.ndarray:
        return output.predictions[output.label_ids != IGNORE_INDEX]


def _losses_and_hits(logits: Tensor, labels: Tensor) -> Tensor:
    logits = logits.float()
    losses = F.cross_entropy(logits, labels, ignore_index=IGNORE_INDEX, reduction="none")
    return torch.stack([losses, (logits.argmax(-1) == labels).float()], dim=-1)
