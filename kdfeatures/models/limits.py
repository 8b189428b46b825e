"""How many tokens a model can place and which ids it has, checked before an index error ends a run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow.compute
from datasets import Dataset
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.errors import UserError
from kdfeatures.evaluation.encoded import token_counts

TABLES = {"input_ids": "token ids", "token_type_ids": "segments"}


def position_count(model: PreTrainedModel) -> int | None:
    """Return the size of the table of absolute positions, or None for a model that has none (rotary, relative)."""
    for name, module in model.base_model.named_modules():
        if name.endswith(("position_embeddings", "embed_positions")) and isinstance(module, nn.Embedding):
            # RoBERTa begins to count after its padding id
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return None


def token_limit(model: PreTrainedModel) -> int | None:
    """Return how many tokens a model takes, by its table of positions or else by its config; None for no limit."""
    positions = position_count(model)
    return getattr(model.config, "max_position_embeddings", None) if positions is None else positions


def check_inputs(model: PreTrainedModel, option: str, splits: Iterable[Dataset | None]) -> None:
    """Raise UserError when an encoded example does not fit the tables of `model`, which `option` names.

    Of positions, token ids and segments. splits: None among them, for one that there is not, is passed over.
    """
    given = [split for split in splits if split is not None]
    positions = position_count(model)
    longest = max(int(token_counts(split).max()) for split in given)
    if positions is not None and longest > positions:
        raise UserError(
            f"{option} has {positions} positions, but an example has {longest} tokens; set data.max_length={positions}."
        )
    for column, size in _table_sizes(model).items():
        largest = max(_largest(split, column) for split in given)
        if largest >= size:
            raise UserError(_beyond(option, column, size, f"the examples hold the id {largest}"))


def check_unseen_inputs(
    model: PreTrainedModel, option: str, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> None:
    """The same for examples that nobody has seen yet: of at most max_length tokens, with any id of the tokenizer."""
    positions = position_count(model)
    if positions is not None and max_length > positions:
        raise UserError(
            f"{option} has {positions} positions, but data.max_length={max_length}; set data.max_length={positions}."
        )
    size = _table_sizes(model).get("input_ids")
    largest = max(tokenizer.get_vocab().values())
    if size is not None and largest >= size:
        raise UserError(_beyond(option, "input_ids", size, f"the tokenizer has the id {largest}"))


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


def _beyond(option: str, column: str, size: int, given: str) -> str:
    fix = (
        "the tokenizer has tokens that this model was never given: take its own tokenizer, or add them to the model "
        "with resize_token_embeddings and train it with them"
        if column == "input_ids"
        else "the tokenizer marks the second of two texts, which this model does not tell from the first: leave "
        "token_type_ids out of model_input_names in its tokenizer_config.json"
    )
    return f"{option} has {size} {TABLES[column]} (0 to {size - 1}), but {given}; {fix}."


def _table_sizes(model: PreTrainedModel) -> dict[str, int]:
    """Return the rows of the tables that inputs are looked up in, by the inputs' names."""
    sizes = {}
    words = model.get_input_embeddings()
    if isinstance(words, nn.Embedding):
        sizes["input_ids"] = words.num_embeddings
    for name, module in model.base_model.named_modules():
        if name.endswith("token_type_embeddings") and isinstance(module, nn.Embedding):
            sizes["token_type_ids"] = module.num_embeddings
    return sizes


def _largest(split: Dataset, column: str) -> int:
    if column not in split.column_names:
        return -1
    values = pyarrow.compute.list_flatten(split.with_format("arrow")[column][:])
    return int(pyarrow.compute.max(values).as_py() or 0)
