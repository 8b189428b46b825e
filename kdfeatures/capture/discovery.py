"""Search a model without a row in FAMILIES for its layers and their attention module."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Iterable

from torch import nn
from transformers import PreTrainedModel

from kdfeatures.errors import UserError, nearest


def discover(base: PreTrainedModel, known: Iterable[str]) -> tuple[str, str]:
    """Return the dotted paths of the layers below the base model and of the attention module below a layer.

    Layers: the one ModuleList of equal blocks that has as many as the config says. Attention: the one module inside a
    block whose forward dispatches through transformers' ALL_ATTENTION_FUNCTIONS, cross-attention left out. Warns with
    what it found; raises UserError, which tells how to add a row, unless there is exactly one of each.
    """
    model_type, depth = base.config.model_type, getattr(base.config, "num_hidden_layers", None)
    lists = {
        path: module
        for path, module in base.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth and len({type(block) for block in module}) == 1
    }
    attention = {
        layers: [path for path, module in blocks[0].named_modules() if _dispatches(module) and "cross" not in path]
        for layers, blocks in lists.items()
    }
    candidates = [(layers, path) for layers, paths in attention.items() for path in paths]
    if len(candidates) != 1:
        description = ", ".join(f"{layers} > {path}" for layers, path in candidates) or "none"
        raise UserError(
            f"kdfeatures has no row for model type '{model_type}'{nearest(model_type, known)}, and a search for a list "
            f"of {depth} equal layers with one attention module that transformers dispatches found {description}; "
            "add a row to FAMILIES in kdfeatures/capture/families.py."
        )
    layers, path = candidates[0]
    block = lists[layers][0]
    warnings.warn(
        f"kdfeatures has no row for model type '{model_type}'{nearest(model_type, known)}; it found {depth} x "
        f"{type(block).__name__} at {layers} with {type(block.get_submodule(path)).__name__} at {path}. Compare what "
        "it captures with output_hidden_states and eager output_attentions before you rely on it, then add that row "
        "to FAMILIES in kdfeatures/capture/families.py.",
        stacklevel=2,
    )
    return layers, path


def _dispatches(module: nn.Module) -> bool:
    code = getattr(inspect.unwrap(type(module).forward), "__code__", None)
    return code is not None and "ALL_ATTENTION_FUNCTIONS" in code.co_names
