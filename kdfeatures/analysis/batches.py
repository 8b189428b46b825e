"""Texts as padded batches for measurements on two models, with no more padding than the texts ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.models.batches import Batch


def text_batches(
    texts: Dataset | Sequence[str] | Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    *,
    batch_size: int,
    max_length: int | None = None,
) -> list[Batch]:
    """Return padded inputs of both models, in the order of the texts.

        batches = text_batches(["a cat sat", "so did a dog", ...], tokenizer, batch_size=8)

    texts: strings, pairs of strings, or an encoded Dataset (kdfeatures.data.load.encode). There are at least two
    batches, none larger than batch_size where that allows it, and sizes differ by at most one, so that each holds the
    two texts that a shuffle needs. max_length: tokens at which strings are cut; None does not cut.
    Raises UserError for fewer than 4 texts, and for a batch_size below 2.
    """
    if batch_size < 2:
        raise UserError(f"batch_size={batch_size} must be at least 2: the null shuffles the texts of a batch.")
    if len(texts) < 4:
        raise UserError(
            f"there are {len(texts)} texts, but 4 are needed: two to match heads on, and two to report; give more."
        )
    rows = _encoded(texts, tokenizer) if isinstance(texts, Dataset) else _tokenized(texts, tokenizer, max_length)
    count = max(2, -(-len(rows) // batch_size))
    if len(rows) < 2 * count:
        count = len(rows) // 2
    parts = [rows[number * len(rows) // count : (number + 1) * len(rows) // count] for number in range(count)]
    # told what a tokenizer's own settings may leave out: padding that nobody marks would count as text
    return [
        dict(tokenizer.pad(part, return_tensors="pt", return_attention_mask=True, padding_side="right"))
        for part in parts
    ]


def batches_of(
    texts: Iterable[Batch] | Sequence[str], tokenizer: PreTrainedTokenizerBase | None, *, batch_size: int
) -> Iterable[Batch]:
    """Return texts as batches; batches, which come without a tokenizer, as they are."""
    if tokenizer is not None:
        return text_batches(texts, tokenizer, batch_size=batch_size)
    if isinstance(texts, Sequence) and any(isinstance(text, str) for text in texts):
        raise ConfigError("is needed to read texts", argument="tokenizer", value=None, hint="give that of both models")
    batches: Iterable[Any] = texts
    return batches


def _encoded(examples: Dataset, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, list[int]]]:
    names = [name for name in examples.column_names if name in tokenizer.model_input_names]
    return examples.select_columns(names).to_list()


def _tokenized(
    texts: Sequence[str] | Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int | None
) -> list[dict[str, list[int]]]:
    cut = {"truncation": max_length is not None, "max_length": max_length}
    return [dict(tokenizer(*([text] if isinstance(text, str) else text), **cut)) for text in texts]
