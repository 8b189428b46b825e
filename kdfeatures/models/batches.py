"""A batch of model inputs: where the model is, and which of its tokens are real."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

Batch = dict[str, Tensor]


def to_device(batch: Batch, model: PreTrainedModel) -> Batch:
    """Return the batch where the model is."""
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in batch.items()}


def real_of(batch: Batch) -> Tensor:
    """Return which tokens are real, boolean (B, L)."""
    if "attention_mask" not in batch:
        return torch.ones_like(batch["input_ids"], dtype=torch.bool)
    return batch["attention_mask"].bool()
