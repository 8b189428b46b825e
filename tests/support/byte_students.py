"""Untrained students that read text as bytes and pieces of them, while the teacher of the workspace reads words."""

from __future__ import annotations

from pathlib import Path

import torch
from support.tokenizer_kinds import tokenizer_of
from transformers import RobertaConfig, RobertaForTokenClassification, RobertaModel


def byte_student(folder: Path, *, seed: int = 0, heads: int = 4, encoder: type = RobertaModel) -> Path:
    """Save a RoBERTa of two layers of width 32 with a byte-BPE tokenizer, and return its folder."""
    words = tokenizer_of("byte-bpe", 400)
    torch.manual_seed(seed)
    config = RobertaConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=heads, intermediate_size=64,
        max_position_embeddings=66, type_vocab_size=1, pad_token_id=words.pad_token_id, bos_token_id=words.cls_token_id,
        eos_token_id=words.sep_token_id, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    encoder(config).save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


def byte_tagger(folder: Path) -> Path:
    """The same with a head for tokens."""
    return byte_student(folder, encoder=RobertaForTokenClassification)
