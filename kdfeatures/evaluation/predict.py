"""Logits of a model on an encoded split."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import DataCollatorWithPadding, PreTrainedTokenizerBase

from kdfeatures.evaluation.encoded import longest_first, model_inputs


class Predictor(Protocol):
    """A model that only answers: one of transformers, or an OnnxClassifier (kdfeatures.models.export)."""

    training: bool

    @property
    def device(self) -> torch.device:
        """Where its inputs must be."""

    def train(self, mode: bool = True) -> Any:
        """Set training mode, as nn.Module does."""

    def eval(self) -> Any:
        """Leave training mode, and return itself."""

    def __call__(self, **batch: Tensor) -> Any:
        """Take a padded batch by name, (B, L) each, and return an object with `.logits`, (B, C) or (B, L, C)."""


def output_logits(output: Any) -> Tensor:
    """Return the logits of an output of transformers: (B, C), (B, L, C), or start and end of an answer, (B, L, 2)."""
    start = getattr(output, "start_logits", None)
    return output.logits if start is None else torch.stack([start, output.end_logits], dim=-1)


@torch.no_grad()
def logit_batches(
    model: Predictor, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, *, batch_size: int, title: str
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield for each batch its rows in the dataset, its attention mask (B, L) and the logits, on the model's device.

    In eval mode and the model's own precision. Batches hold examples of like length, so little is padding; the longest
    come first. title: shown on the progress bar.
    """
    was_training = model.training
    model.eval()
    order = longest_first(dataset)
    loader = DataLoader(
        model_inputs(dataset, tokenizer).select(order),
        batch_size=batch_size,
        collate_fn=DataCollatorWithPadding(tokenizer),
    )
    try:
        for number, batch in enumerate(tqdm(loader, desc=title, leave=False, disable=len(loader) < 20)):
            inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
            rows = order[number * batch_size : (number + 1) * batch_size]
            yield rows, inputs["attention_mask"].bool(), output_logits(model(**inputs))
    finally:
        model.train(was_training)


def predict_logits(
    model: Predictor, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, *, batch_size: int, title: str
) -> np.ndarray:
    """Return float32 logits (examples, C) in the dataset's order; see logit_batches."""
    batches = [
        (rows, logits.float().cpu().numpy())
        for rows, _, logits in logit_batches(model, dataset, tokenizer, batch_size=batch_size, title=title)
    ]
    ordered = np.empty((len(dataset), batches[0][1].shape[1]), dtype=np.float32)
    for rows, logits in batches:
        ordered[rows] = logits
    return ordered
