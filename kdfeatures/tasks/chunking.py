"""Texts to token ids: joined and cut into blocks, or one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from transformers import PreTrainedTokenizerBase

from kdfeatures.errors import UserError

TEXTS_AT_ONCE = 1000  # joined; the last block of them may be shorter


def reader(
    tokenizer: PreTrainedTokenizerBase, column: str, max_length: int, *, blocks: bool
) -> Callable[[dict[str, list[str]]], dict[str, list]]:
    """Return what turns a batch of texts into input_ids, attention_mask and what else the tokenizer makes.

    blocks: the tokens of all texts, a separator between two, are cut into blocks of max_length tokens, counting the
    special ones around each block. transformers' run_mlm.py has the special tokens of every text inside its blocks
    instead, and drops the last one. Without blocks each text is an example of at most max_length tokens.
    Raises UserError for a max_length without room for text.
    """
    before, after = _around(tokenizer)
    room = max_length - len(before) - len(after)
    if room < 1:
        raise UserError(f"max_length={max_length} leaves no room for text beside {max_length - room} special tokens")

    def whole(texts: dict[str, list[str]]) -> dict[str, list]:
        return dict(tokenizer(texts[column], truncation=True, max_length=max_length))

    def cut(texts: dict[str, list[str]]) -> dict[str, list]:
        end = [] if tokenizer.sep_token_id is None else [tokenizer.sep_token_id]
        ids = tokenizer(texts[column], add_special_tokens=False)["input_ids"]
        joined = list(chain.from_iterable([*text_ids, *end] for text_ids in ids))
        if end and joined[-1:] == end:
            joined.pop()
        chunks = [[*before, *joined[at : at + room], *after] for at in range(0, len(joined), room)]
        batch: dict[str, Any] = {"input_ids": chunks, "attention_mask": [[1] * len(chunk) for chunk in chunks]}
        if "token_type_ids" in tokenizer.model_input_names:
            batch["token_type_ids"] = [[0] * len(chunk) for chunk in chunks]
        return batch

    return cut if blocks else whole


def _around(tokenizer: PreTrainedTokenizerBase) -> tuple[Sequence[int], Sequence[int]]:
    """Return the ids that the tokenizer puts before a text and after it."""
    inner = tokenizer("a", add_special_tokens=False)["input_ids"]
    outer = tokenizer("a")["input_ids"]
    start = next(at for at in range(len(outer)) if outer[at : at + len(inner)] == inner)
    return outer[:start], outer[start + len(inner) :]
