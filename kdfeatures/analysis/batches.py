"""Texts as padded batches for measurements on two models, with no more padding than the texts ask for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from kdfeatures.alignment.tokens.groups import Side, TokenGroups
from kdfeatures.alignment.tokens.teacher_inputs import groups_of, inputs_of_teacher
from kdfeatures.errors import ConfigError, UserError
from kdfeatures.features import AttentionStates
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.models.batches import Batch, real_of
from kdfeatures.tokenization.both_collator import BothCollator
from kdfeatures.tokenization.teacher_columns import Tokenizers, column_of, teacher_inputs_of, without_teachers


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
    rows = _encoded(texts, tokenizer) if isinstance(texts, Dataset) else _tokenized(texts, tokenizer, max_length)
    return [_padded(tokenizer, part) for part in _parts(rows, batch_size)]


def _parts(rows: list[Any], batch_size: int) -> list[list[Any]]:
    if batch_size < 2:
        raise UserError(f"batch_size={batch_size} must be at least 2: the null shuffles the texts of a batch.")
    if len(rows) < 4:
        raise UserError(
            f"there are {len(rows)} texts, but 4 are needed: two to match heads on, and two to report; give more."
        )
    count = max(2, -(-len(rows) // batch_size))
    if len(rows) < 2 * count:
        count = len(rows) // 2
    return [rows[number * len(rows) // count : (number + 1) * len(rows) // count] for number in range(count)]


def _padded(tokenizer: PreTrainedTokenizerBase, rows: list[dict[str, Any]]) -> Batch:
    # told what a tokenizer's own settings may leave out: padding that nobody marks would count as text
    return dict(tokenizer.pad(rows, return_tensors="pt", return_attention_mask=True, padding_side="right"))


class PairBatch(NamedTuple):
    """The same texts for two models. groups: None where both read the same tokens."""

    student: Batch
    teacher: Batch
    groups: TokenGroups | None

    @property
    def real(self) -> Tensor:
        """Which tokens, or groups of them, are compared, boolean (B, L) or (B, G)."""
        return real_of(self.student) if self.groups is None else self.groups.mask

    def hidden(self, states: Tensor, side: Side) -> Tensor:
        """Return hidden states of tokens, (B, L, D), as they are compared."""
        return states if self.groups is None else self.groups.hidden(states, side)

    def attention(self, states: AttentionStates, side: Side) -> AttentionStates:
        """Return attention of tokens as it is compared."""
        return states if self.groups is None else self.groups.attention(states, side, probabilities=True)


def pair_of(batch: Batch | PairBatch) -> PairBatch:
    """Return a batch that both models read, or one for each, as the latter."""
    return batch if isinstance(batch, PairBatch) else PairBatch(batch, batch, None)


def pair_batches(
    examples: Dataset,
    tokenizer: PreTrainedTokenizerBase,
    teacher: str,
    others: Tokenizers,
    *,
    batch_size: int,
) -> list[Batch] | list[PairBatch]:
    """Return encoded examples as batches for the student and one teacher; as `text_batches`.

    others: the tokenizers of the teachers that have their own, by name.
    """
    if teacher not in others:
        return text_batches(without_teachers(examples), tokenizer, batch_size=batch_size)
    return [pair_batch(part, tokenizer, teacher, others) for part in _parts(examples.to_list(), batch_size)]


def pair_batch(
    rows: Sequence[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, teacher: str, others: Tokenizers
) -> PairBatch:
    """Return encoded examples, which hold the teacher's inputs where it is one of `others`, as one batch for both."""
    start = column_of(teacher, "")
    kept = [
        {name: x for name, x in row.items() if name in tokenizer.model_input_names or name.startswith(start)}
        for row in rows
    ]
    if teacher not in others:
        return pair_of(_padded(tokenizer, kept))
    batch = BothCollator(partial(_padded, tokenizer), {teacher: others[teacher]})(kept)
    inputs = batch.pop("teacher_inputs")
    groups = groups_of(inputs, batch["attention_mask"]) or {}
    return PairBatch(batch, inputs_of_teacher(inputs[teacher]), groups.get(teacher))


def batches_of(
    texts: Iterable[Batch | PairBatch] | Sequence[str],
    tokenizer: PreTrainedTokenizerBase | None,
    *,
    batch_size: int,
    teacher_tokenizer: PreTrainedTokenizerBase | None = None,
) -> Iterable[Batch | PairBatch]:
    """Return texts as batches; batches, which come without a tokenizer, as they are."""
    if tokenizer is not None and teacher_tokenizer is not None:
        rows = [(text,) if isinstance(text, str) else tuple(text) for text in cast("Sequence[Any]", texts)]
        own = tokenizer(*([list(column) for column in zip(*rows, strict=True)]))
        its = teacher_inputs_of(rows, tokenizer, DEFAULT_TEACHER, teacher_tokenizer)
        examples = [{name: values[n] for name, values in {**own, **its}.items()} for n in range(len(rows))]
        others = {DEFAULT_TEACHER: teacher_tokenizer}
        return [pair_batch(part, tokenizer, DEFAULT_TEACHER, others) for part in _parts(examples, batch_size)]
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
