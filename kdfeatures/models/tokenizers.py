"""Load a tokenizer, and make it give a text the same tokens and the same mask whoever shares its batch."""

from __future__ import annotations

import copy
from typing import Any

from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.errors import UserError
from kdfeatures.models.configs import load_config
from kdfeatures.models.folders import folder_of, loading
from kdfeatures.models.limits import token_limit


def load_tokenizer(path: str, option: str) -> PreTrainedTokenizerBase:
    """Load the tokenizer at `path`; `option` is how the user named it, for the error.

    Settings by which a text would depend on its batch, or on chance, are switched off: padding on the left, which moves
    absolute positions, padding and truncation that are stored in its file, inputs without an attention mask, and
    dropout of merges. Raises UserError for one that cannot be loaded, knows no words, or cannot pad.
    """
    config, folder = load_config(path, option), folder_of(path, option, "tokenizer")
    with loading(option, path, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(str(folder), config=config, trust_remote_code=False)
    tokenizer.name_or_path = path
    if len(tokenizer) <= len(tokenizer.all_special_ids):
        # without its files transformers makes one of the model's kind that turns every word into [UNK]
        raise UserError(f"{option}={path} holds no tokenizer; copy tokenizer.json and tokenizer_config.json there.")
    if tokenizer.pad_token_id is None:
        raise UserError(
            f"{option}={path} has a tokenizer without a padding token; name one in its tokenizer_config.json, such as "
            f'"pad_token": "{tokenizer.eos_token or tokenizer.sep_token or "[PAD]"}".'
        )
    return independent_of_batch(tokenizer)


def independent_of_batch(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """Switch off, in place, what would make a text's tokens or positions depend on its batch or on chance."""
    tokenizer.padding_side = "right"
    if "attention_mask" not in tokenizer.model_input_names:
        tokenizer.model_input_names = [*tokenizer.model_input_names, "attention_mask"]
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        backend.no_padding()
        backend.no_truncation()
        if getattr(backend.model, "dropout", None):
            backend.model.dropout = None
    return tokenizer


def limited(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> PreTrainedTokenizerBase:
    """Return a copy that says how many tokens the model takes, where its own limit is higher or none."""
    limit = token_limit(model)
    copied = copy.deepcopy(tokenizer)
    if limit is not None:
        copied.model_max_length = min(copied.model_max_length, limit)
    return copied
