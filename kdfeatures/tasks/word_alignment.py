"""Which token begins which word."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import BatchEncoding, PreTrainedTokenizerBase

from kdfeatures.errors import UserError, first_line


def first_pieces(
    texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[dict[str, Any], list[list[int | None]]]:
    """Tokenise texts that are lists of words, and tell for every token which word it begins, None for the others.

    Texts are cut to max_length tokens. A word that the tokenizer drops, such as a control character, is read as its
    unknown token, so that every word in front of the cut has one. Raises UserError for a tokenizer without word ids,
    and for a dropped word where there is no unknown token.
    """
    if not tokenizer.is_fast:
        raise UserError("the tokenizer is a slow one, which does not tell which word a token is of; choose a fast one.")
    inputs = _tokenised(texts, tokenizer, max_length)
    dropped = {
        row: positions for row, text in enumerate(texts) if (positions := _dropped(inputs, row, len(text), max_length))
    }
    if dropped:
        if tokenizer.unk_token is None:
            row, positions = next(iter(dropped.items()))
            raise UserError(f"the tokenizer makes no token of the word {texts[row][positions[0]]!r}; leave it out.")
        filled = [list(text) for text in texts]
        for row, positions in dropped.items():
            for word in positions:
                filled[row][word] = tokenizer.unk_token
        inputs = _tokenised(filled, tokenizer, max_length)
    return dict(inputs), [_firsts(inputs.word_ids(row)) for row in range(len(texts))]


def _tokenised(texts: Sequence[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_length: int) -> BatchEncoding:
    try:
        return tokenizer(list(texts), is_split_into_words=True, truncation=True, max_length=max_length)
    except (AssertionError, ValueError) as error:  # byte-level ones want add_prefix_space=True
        raise UserError(f"the tokenizer takes no lists of words: {first_line(error)}") from error


def _dropped(inputs: BatchEncoding, row: int, words: int, max_length: int) -> list[int]:
    covered = {word for word in inputs.word_ids(row) if word is not None}
    is_cut = len(inputs["input_ids"][row]) == max_length
    return [word for word in range(max(covered, default=-1) + 1 if is_cut else words) if word not in covered]


def _firsts(words: Sequence[int | None]) -> list[int | None]:
    before: list[int | None] = [None, *words[:-1]]
    return [None if word == previous else word for word, previous in zip(words, before, strict=True)]
