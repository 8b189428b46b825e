"""How many tokens a model can place, checked before a longer text ends a run with an index error."""

from __future__ import annotations

from collections.abc import Iterable

from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel

from kdfeatures.errors import UserError
from kdfeatures.evaluation.encoded import token_counts


def position_count(model: PreTrainedModel) -> int | None:
    """Return the size of the table of absolute positions, or None for a model that has none (rotary, relative)."""
    for name, module in model.base_model.named_modules():
        if name.endswith(("position_embeddings", "embed_positions")) and isinstance(module, nn.Embedding):
            # RoBERTa begins to count after its padding id
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def check_positions(model: PreTrainedModel, option: str, splits: Iterable[Dataset]) -> None:
    """Raise UserError when an encoded example has more tokens than `model`, which `option` names, has positions."""
    positions = position_count(model)
    longest = max(int(token_counts(split).max()) for split in splits)
    if positions is not None and longest > positions:
        raise UserError(
            f"{option} has {positions} positions, but an example has {longest} tokens; set data.max_length={positions}."
        )


def check_length(model: PreTrainedModel, option: str, max_length: int) -> None:
    """Raise UserError when examples may have more tokens than `model`, which `option` names, has positions."""
    positions = position_count(model)
    if positions is not None and max_length > positions:
        raise UserError(
            f"{option} has {positions} positions, but data.max_length={max_length}; set data.max_length={positions}."
        )
