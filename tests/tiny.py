"""Tiny random encoders of every family, and batches for them."""

from __future__ import annotations

import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    PreTrainedConfig,
    RobertaConfig,
)

VOCABULARY = 99


def tiny_config(family: str, *, layers: int = 3, width: int = 24, heads: int = 4, **more) -> PreTrainedConfig:
    """Return a config of a family; dropout as the family has it."""
    if family == "distilbert":
        return DistilBertConfig(
            vocab_size=VOCABULARY, n_layers=layers, dim=width, n_heads=heads, hidden_dim=2 * width, **more
        )
    kinds = {"bert": BertConfig, "roberta": RobertaConfig, "electra": ElectraConfig}
    if family == "electra":
        more = {"embedding_size": 16} | more
    return kinds[family](
        vocab_size=VOCABULARY,
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        **more,
    )


def tiny_classifier(family: str = "bert", *, num_labels: int = 2, **sizes):
    """Return a randomly initialised classifier in eval mode."""
    return AutoModelForSequenceClassification.from_config(tiny_config(family, num_labels=num_labels, **sizes)).eval()


def tiny_batch(lengths: tuple[int, ...] = (9, 5, 7)) -> dict[str, torch.Tensor]:
    """Return input_ids and attention_mask (B, max(lengths)), padded with 1 (RoBERTa's pad id; any id will do)."""
    ids = torch.full((len(lengths), max(lengths)), 1)
    mask = torch.zeros_like(ids)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, VOCABULARY, (length,))
        mask[row, :length] = 1
    return {"input_ids": ids, "attention_mask": mask}


def model_entry(path: str = "somewhere", *, parameters: int = 2_500_000, metrics: dict | None = None) -> dict:
    """Return what results.json says of a model."""
    return {
        "path": path,
        "model_type": "bert",
        "layers": 4,
        "hidden_size": 128,
        "heads": 4,
        "parameters": parameters,
        "metrics": metrics or {"validation": {"accuracy": 0.875}},
    }
