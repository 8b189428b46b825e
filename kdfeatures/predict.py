"""Logits of a classifier on an encoded split."""

from __future__ import annotations

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm.auto import tqdm
from transformers import DataCollatorWithPadding, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.data import token_counts


@torch.no_grad()
def predict_logits(
    model: PreTrainedModel, dataset: Dataset, tokenizer: PreTrainedTokenizerBase, *, batch_size: int, title: str
) -> np.ndarray:
    """Return float32 logits (examples, C) in the dataset's order, in eval mode and the model's own precision.

    Batches hold examples of like length, so little is padding. title: shown on the progress bar.
    """
    was_training = model.training
    model.eval()
    columns = [name for name in dataset.column_names if name in tokenizer.model_input_names]
    order = np.argsort(token_counts(dataset).numpy(), kind="stable")[::-1]
    loader = DataLoader(
        dataset.select_columns(columns).select(order),
        batch_size=batch_size,
        collate_fn=DataCollatorWithPadding(tokenizer),
    )
    device = next(model.parameters()).device
    parts = [
        model(**{name: tensor.to(device) for name, tensor in batch.items()}).logits.float().cpu()
        for batch in tqdm(loader, desc=title, leave=False, disable=len(loader) < 20)
    ]
    model.train(was_training)
    logits = torch.cat(parts).numpy()
    unsorted = np.empty_like(logits)
    unsorted[order] = logits
    return unsorted
