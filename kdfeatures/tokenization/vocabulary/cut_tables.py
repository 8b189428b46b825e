"""A model cut to some of its tokens: embeddings, a masked-language-model head, and the ids in its config."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from kdfeatures.errors import UserError

ID = "_token_id"


@torch.no_grad()
def cut_tables(model: PreTrainedModel, old_ids: Sequence[int]) -> None:
    """Leave, in place, the rows of the tokens `old_ids`, in this order, wherever a model has a row for each token.

    Ids in the config follow; those of tokens that are gone become None. What was frozen stays so. Raises UserError for
    a token beyond the model's table.
    """
    rows = torch.tensor(old_ids)
    embeddings: Any = model.get_input_embeddings()
    if int(rows.max()) >= embeddings.num_embeddings:
        raise UserError(
            f"the student has {embeddings.num_embeddings} token ids, but its tokenizer has the id {int(rows.max())}, "
            "so there is no row to keep; add its tokens to the model with resize_token_embeddings, or take its own "
            "tokenizer."
        )
    is_frozen = not embeddings.weight.requires_grad
    size = model.config.vocab_size
    for table in _tables(model, size):
        table[: len(rows)] = table[rows.to(table.device)].clone()
    model.resize_token_embeddings(len(rows), mean_resizing=False)
    new_ids = {old: new for new, old in enumerate(old_ids)}
    words: Any = model.get_input_embeddings()
    words.weight.requires_grad_(not is_frozen)
    if words.padding_idx is not None:
        words.padding_idx = new_ids.get(words.padding_idx)
    for config in (model.config, getattr(model, "generation_config", None)):
        for name, value in list(vars(config).items()) if config is not None else ():
            if name.endswith(ID) and isinstance(value, int):
                setattr(config, name, new_ids.get(value))


def _tables(model: PreTrainedModel, size: int) -> list[torch.Tensor]:
    """Return every tensor with a row for each token, each once: tied ones are the same."""
    words: Any = model.get_input_embeddings()
    head = model.get_output_embeddings()
    tensors: list[torch.Tensor] = [words.weight]
    if isinstance(head, nn.Linear):
        tensors += [head.weight] if head.bias is None else [head.weight, head.bias]
    outside = {id(parameter) for parameter in model.base_model.parameters()}
    tensors += [p for p in model.parameters() if id(p) not in outside and p.ndim == 1 and len(p) == size]
    return list({tensor.data_ptr(): tensor for tensor in tensors if len(tensor) == size}.values())
