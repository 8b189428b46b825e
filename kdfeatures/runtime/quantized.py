"""Models whose linear maps are int8 on a CPU: weights by row, activations as they come (dynamic quantisation of torch).

torch calls it deprecated in favour of torchao, whose int8 layers are made for compiled models; a torch without it is
told. What it saves, and what it costs in accuracy, is in docs/speed.md.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import torch
from torch import nn

from kdfeatures.errors import ConfigError

DTYPE = "int8"


def check_int8() -> None:
    """Raise ConfigError where no int8 model can run: on a GPU, or with a torch that has no such kernels."""
    reason = "runs on CPUs only, but there is a GPU" if torch.cuda.is_available() else None
    if reason is None and not hasattr(_library(), "quantize_dynamic"):
        reason = f"needs dynamic quantisation, which torch {torch.__version__} does not have"
    if reason is not None:
        raise ConfigError(
            reason, argument="dtype", value=DTYPE, hint="use bfloat16 where the hardware has it", section="teacher"
        )


def quantize(model: nn.Module) -> None:
    """Replace a model's linear layers, in place, by int8 ones, whose answers are rounded."""
    library = _library()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what torch says of its own future, several lines a layer
        library.quantize_dynamic(model, {nn.Linear: library.per_channel_dynamic_qconfig}, inplace=True)


def packed_parameters(model: nn.Module) -> int:
    """Return how many weights and biases are in int8 layers, which are no parameters of torch's."""
    total = 0
    for module in model.modules():
        if hasattr(module, "_packed_params") and hasattr(module, "weight") and callable(module.weight):
            bias = module.bias()
            total += module.weight().numel() + (0 if bias is None else bias.numel())
    return total


def _library() -> Any:
    try:
        return importlib.import_module("torch.ao.quantization")
    except ImportError:
        return None
