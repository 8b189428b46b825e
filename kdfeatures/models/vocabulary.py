"""Masked language models of one tokenizer whose tables were padded to different sizes."""

from __future__ import annotations

from collections.abc import Sequence

from transformers import PreTrainedModel, PreTrainedTokenizerBase


def cut_padding(models: Sequence[PreTrainedModel], tokenizer: PreTrainedTokenizerBase) -> None:
    """Take the rows that no token has off tables and output maps, in place, where the models' vocabularies differ.

    Their outputs are then of the tokenizer's tokens and no others, so that they can be compared. Models that agree keep
    their padding, which makes products faster.
    """
    size = max(tokenizer.get_vocab().values()) + 1
    if len({model.config.vocab_size for model in models}) > 1:
        for model in models:
            if model.config.vocab_size > size:
                model.resize_token_embeddings(size)
