"""What a tokenizer does, as a hash."""

from __future__ import annotations

import json
from typing import Any

from transformers import PreTrainedTokenizerBase

from kdfeatures.checksums import hash_of


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return a hash of vocabulary, special tokens and, of a fast tokenizer, all that it does to a text.

    Truncation and padding do not count, which every call sets anew.
    """
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    settings: dict[str, Any] = {"vocab": tokenizer.get_vocab(), "special": special}
    if tokenizer.is_fast:
        settings["pipeline"] = json.loads(tokenizer.backend_tokenizer.to_str())
        for changed_by_calls in ("truncation", "padding"):
            settings["pipeline"].pop(changed_by_calls)
    return hash_of(json.dumps(settings, sort_keys=True))
