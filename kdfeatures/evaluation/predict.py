"""Logits of a model on an encoded split."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from datasets import Dataset
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.tasks.columns import token_counts


def model_inputs(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Return an encoded split with the columns that a model takes, and no others."""
    return dataset.select_columns([name for name in dataset.column_names if name in tokenizer.model_input_names])


@torch.no_grad()
def logit_batches(
    model: PreTrainedModel, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, *, batch_size: int, title: str
) -> Iterator[tuple[np.ndarray, Tensor, Tensor]]:
    """Yield for each batch its rows in the dataset, its attention mask (B, L) and the logits, on the model's device.

    In eval mode and the model's own precision. Batches hold examples of like length, so little is padding; the longest
    come first. model: also an OnnxClassifier (kdfeatures.models.export). title: shown on the progress bar.
    """
    was_training = model.training
    model.eval()
    order = np.argsort(token_counts(dataset).numpy(), kind="stable")[::-1]
    loader = DataLoader(
        model_inputs(dataset, tokenizer).select(order),
        batch_size=batch_size,
        collate_fn=DataCollatorWithPadding(tokenizer),
    )
    try:
        for number, batch in enumerate(tqdm(loader, desc=title, leave=False, disable=len(loader) < 20)):
            inputs = {name: tensor.to(model.device) for name, tensor in batch.items()}
            rows = order[number * batch_size : (number + 1) * batch_size]
            yield rows, inputs["attention_mask"].bool(), model(**inputs).logits
    finally:
        model.train(was_training)


def predict_logits(
    model: PreTrainedModel, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, *, batch_size: int, title: str
) -> np.ndarray:
    """Return float32 logits (examples, C) in the dataset's order; see logit_batches."""
    found = [
        (rows, logits.float().cpu().numpy())
        for rows, _, logits in logit_batches(model, dataset, tokenizer, batch_size=batch_size, title=title)
    ]
    ordered = np.empty((len(dataset), found[0][1].shape[1]), dtype=np.float32)
    for rows, logits in found:
        ordered[rows] = logits
    return ordered
