"""From the last hidden states of a text to its vector, as sentence-transformers has it."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdfeatures.errors import ConfigError, nearest

MASK = "attention_mask"
MODES = ("mean", "cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")


@dataclass(frozen=True)
class Pooling:
    """How the states of a text's L tokens become one vector.

    Args:
        mode: "mean" of the real tokens, "cls" the first real one, "max" of each dimension, "mean_sqrt_len_tokens" their
            sum over the root of their number, "weightedmean" with weights 1, 2, ... in their order, "lasttoken".
        normalize: whether the vector is then divided by its length.
        max_length: tokens after which its folder cuts texts; None does not say.

    Raises:
        ConfigError: for another mode.

    Example:
        >>> states = torch.tensor([[[2.0, 0.0], [4.0, 0.0], [9.0, 9.0]]])
        >>> Pooling("mean", normalize=False)(states, torch.tensor([[1, 1, 0]])).tolist()
        [[3.0, 0.0]]
    """

    mode: str = "mean"
    normalize: bool = False
    max_length: int | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ConfigError(
                f"is unknown{nearest(self.mode, MODES)}",
                argument="mode",
                value=self.mode,
                hint=f"choose from {', '.join(MODES)}",
            )

    def __call__(self, states: Tensor, mask: Tensor | None) -> Tensor:
        """Return the vectors, (B, D), float32 or wider.

        Args:
            states: (B, L, D), the last hidden states.
            mask: (B, L), 1 for real tokens; None when all are.
        """
        states = states.float() if states.dtype in (torch.float16, torch.bfloat16) else states
        real = torch.ones(states.shape[:2], device=states.device) if mask is None else mask
        vectors = self._pooled(states, real.to(states.dtype))
        return F.normalize(vectors, dim=-1) if self.normalize else vectors

    def _pooled(self, states: Tensor, real: Tensor) -> Tensor:
        rows = torch.arange(states.shape[0], device=states.device)  # len would be a constant in an exported graph
        if self.mode == "cls":
            return states[rows, real.argmax(1)]
        if self.mode == "lasttoken":
            places = torch.arange(1, real.shape[1] + 1, device=real.device)
            return states[rows, (real * places).argmax(1)]
        if self.mode == "max":
            return states.masked_fill(real[..., None] == 0, torch.finfo(states.dtype).min).amax(1)
        weights = real * real.cumsum(1) if self.mode == "weightedmean" else real
        total = weights.sum(1, keepdim=True).clamp(min=1)
        divisor = total.sqrt() if self.mode == "mean_sqrt_len_tokens" else total
        return (weights[..., None] * states).sum(1) / divisor


def give_vectors(model: nn.Module, pooling: Pooling) -> None:
    """Let an encoder without a head return its texts' vectors, (B, D), as `logits` beside its hidden states, in place.

    Whatever takes a model's outputs then takes the vectors: losses between outputs, the cache, scoring, export.
    """

    taken = list(inspect.signature(model.forward).parameters)
    place = taken.index(MASK) if MASK in taken else len(taken)

    def add_vectors(module: nn.Module, args: tuple, inputs: dict[str, Any], output: Any) -> Any:
        mask = args[place] if place < len(args) else inputs.get(MASK)
        output["logits"] = pooling(output["last_hidden_state"], mask)
        return output

    for handle in getattr(model, "_vector_hooks", ()):
        handle.remove()
    model.__dict__["_vector_hooks"] = (model.register_forward_hook(add_vectors, with_kwargs=True),)
    model.__dict__["_pooling"] = pooling


def pooling_of(model: Any) -> Pooling | None:
    """Return what makes a model's vectors; None where `give_vectors` did not."""
    return getattr(model, "_pooling", None)
