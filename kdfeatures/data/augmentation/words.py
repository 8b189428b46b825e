"""Where a text's words are, and which tokens of a vocabulary are whole words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

_PARTS = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*|(?:[\W\d_])+")


def parts_of(text: str) -> list[str]:
    """Return the text cut into words and what stands between them; joined they give the text again."""
    return _PARTS.findall(text)


def is_word(part: str) -> bool:
    """True for a word, false for spaces, punctuation and numbers."""
    return part[0].isalpha()


def pieces(word: str, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Return the token ids of a word as it stands inside a text."""
    # byte-level and sentencepiece tokenizers write the space before a word into its first token
    return tokenizer(f"a {word}", add_special_tokens=False)["input_ids"][
        len(tokenizer("a", add_special_tokens=False)["input_ids"]) :
    ]


def whole_words(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Return the tokens that are whole words by themselves, by the word."""
    special = set(tokenizer.all_special_ids)
    words_by_id = {i: word.strip() for i, word in enumerate(_decoded(tokenizer)) if i not in special}
    candidates = {word: i for i, word in words_by_id.items() if word.isalpha()}
    words = list(candidates)
    lead = len(tokenizer("a", add_special_tokens=False)["input_ids"])
    encoded: Sequence[list[int]] = tokenizer([f"a {word}" for word in words], add_special_tokens=False)["input_ids"]
    return {word: ids[lead] for word, ids in zip(words, encoded, strict=True) if len(ids) == lead + 1}


def _decoded(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    return [
        tokenizer.convert_tokens_to_string([token])
        for token in tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    ]
