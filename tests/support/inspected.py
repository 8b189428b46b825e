"""Tiny models on disk to inspect: a teacher, and a student of other depth, width and head count."""

from __future__ import annotations

from pathlib import Path

import torch
from support.tagged import pieces_tokenizer
from support.tiny import decided
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase

from kdfeatures.data.synthetic import tokenizer as agreement_tokenizer


def save_encoder(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    *,
    layers: int,
    width: int,
    heads: int,
    seed: int = 0,
    positions: int = 64,
) -> Path:
    """Save a random encoder whose attention is far from uniform, with its tokenizer, and return its folder."""
    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=len(tokenizer),
        num_hidden_layers=layers,
        hidden_size=width,
        num_attention_heads=heads,
        intermediate_size=2 * width,
        max_position_embeddings=positions,
    )
    decided(BertModel(config)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def save_encoders(folder: Path) -> Path:
    """Save a teacher of 4 layers and 4 heads, a student of 2 and 2, the one before it, and some that do not fit."""
    words = agreement_tokenizer()
    save_encoder(folder / "teacher", words, layers=4, width=32, heads=4)
    save_encoder(folder / "student", words, layers=2, width=16, heads=2, seed=1)
    save_encoder(folder / "before", words, layers=2, width=16, heads=2, seed=2)
    save_encoder(folder / "deep", words, layers=3, width=16, heads=2)
    save_encoder(folder / "short", words, layers=2, width=16, heads=2, positions=8)
    save_encoder(folder / "words", pieces_tokenizer(), layers=2, width=16, heads=2)
    return folder


def inspect_call(folder: Path, name: str, *overrides: str) -> list[str]:
    """Return the arguments that inspect teacher and student on few texts."""
    models = [f"{side}.path={folder / side}" for side in ("teacher", "student")]
    few = ["inspect.examples=8", "inspect.batch_size=2", "inspect.sentences=2", "inspect.measures=[divergence,cka]"]
    return ["inspect", *models, f"output_dir={folder / name}", *few, *overrides]
