"""What cached features depend on: the teacher and how it is run (a folder), and each example's inputs (a digest)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow.compute
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.checksums import hash_of
from kdfeatures.embeddings.pooling import pooling_of
from kdfeatures.tokenization.tokenizer_hash import tokenizer_hash

FORMAT = 1  # of the files; raise it when they change
DIGEST = 16  # bytes: with 10^12 examples two share one with a chance of 10^-15
MASK = "attention_mask"
_NOT_SEEN_BY_FEATURES = ("_name_or_path", "transformers_version", "id2label", "label2id")


def identity(teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, dtype: str) -> dict[str, Any]:
    """Return all that a teacher's features depend on besides the examples, as JSON can hold it.

    The weights count, not the path they came from. The device does not count: its kernels may differ in the last bits.
    """
    config = {name: value for name, value in teacher.config.to_dict().items() if name not in _NOT_SEEN_BY_FEATURES}
    pooling = pooling_of(teacher)
    of_vectors = {} if pooling is None else {"vectors": f"{pooling.mode} {pooling.normalize}"}
    return {
        "format": FORMAT,
        "torch": version("torch"),
        "transformers": version("transformers"),
        "weights": weights_hash(teacher),
        "precision": str(teacher.dtype).removeprefix("torch."),
        "attention": teacher.config._attn_implementation,
        "config": hash_of(json.dumps(config, sort_keys=True, default=str)),
        "model_type": teacher.config.model_type,
        "tokenizer": tokenizer_hash(tokenizer),
        "padding": tokenizer.padding_side,
        "dtype": dtype,
        **of_vectors,
    }


def folder_name(of: dict[str, Any]) -> str:
    """The name of the folder for an identity."""
    return f"{of['model_type']}-{hash_of(json.dumps(of, sort_keys=True))[:16]}"


def input_columns(examples: Dataset, tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """The columns that a model is given: what the tokenizer makes, such as input_ids and token_type_ids."""
    return [name for name in examples.column_names if name in tokenizer.model_input_names]


def digests_of(examples: Dataset, columns: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return a digest of each example's inputs, (examples,) of DIGEST bytes, and its tokens, (examples,).

    The attention mask is left out: unpadded examples have ones only. Text, its truncation and how it was tokenised
    are in the input ids.
    """
    columns = sorted(set(columns) - {MASK})
    digests, lengths = [], []
    for table in examples.select_columns(columns).with_format("arrow").iter(10_000):
        parts = []
        for name in columns:
            column = table[name].combine_chunks()
            counts = pyarrow.compute.list_value_length(column).to_numpy(zero_copy_only=False)
            flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.int32)
            parts.append(np.split(flat, np.cumsum(counts)[:-1]))
        lengths += [len(ids) for ids in parts[columns.index("input_ids")]]
        for row in zip(*parts, strict=True):
            hashed = hashlib.blake2b(" ".join(columns).encode(), digest_size=DIGEST)
            for ids in row:
                hashed.update(ids.tobytes())
            digests.append(hashed.digest())
    return np.frombuffer(b"".join(digests), dtype=f"S{DIGEST}"), np.asarray(lengths, dtype=np.int64)


def weights_hash(model: PreTrainedModel) -> str:
    """Return a hash of all parameters and buffers, by name, precision and shape."""
    hashed = hashlib.blake2b(digest_size=DIGEST)
    for name, value in sorted(model.state_dict().items()):
        for number, part in enumerate(_parts(value)):
            hashed.update(f"{name if number == 0 else number} {_described(part)}".encode())
            if isinstance(part, Tensor):
                hashed.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _parts(value: Any) -> list[Any]:
    """Return the tensors that a value of a state dict consists of: of an int8 layer codes, scales, offsets and bias."""
    if isinstance(value, tuple):
        return [part for item in value for part in _parts(item)]
    if isinstance(value, Tensor) and value.is_quantized:
        return [value.int_repr(), value.q_per_channel_scales(), value.q_per_channel_zero_points()]
    return [value]


def _described(part: Any) -> str:
    return f"{part.dtype} {tuple(part.shape)}" if isinstance(part, Tensor) else str(part)
