"""Which pieces of a tokenizer texts are split into."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice

from transformers import PreTrainedTokenizerBase

TEXTS_AT_ONCE = 1000


def used_pieces(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str | Sequence[str]]) -> set[int]:
    """Return the ids of all pieces of the texts, special tokens aside. texts: strings, or lists of words."""
    used: set[int] = set()
    remaining = iter(texts)
    while some := list(islice(remaining, TEXTS_AT_ONCE)):
        words = {} if isinstance(some[0], str) else {"is_split_into_words": True}
        for ids in tokenizer(some, add_special_tokens=False, verbose=False, **words)["input_ids"]:
            used.update(ids)
    return used
