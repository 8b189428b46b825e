"""A masked language model without its logits: the states that its decoder would make them of, and the decoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import PreTrainedModel

from kdfeatures.capture.compiled import watch_hooks
from kdfeatures.features import VocabularyLogits


class DecoderTap:
    """A hook that lets a single token into the decoder of a masked language model, and keeps what it was called with.

    Everything else of the pass is as it was. Losses then make logits as they need them (kdfeatures.losses.vocabulary).
    """

    def __init__(self, decoder: nn.Linear) -> None:
        self.decoder = decoder
        self._holds = False
        self._states: Tensor | None = None
        watch_hooks()
        self._handle = decoder.register_forward_pre_hook(self._keep)

    @classmethod
    def of(cls, model: nn.Module) -> DecoderTap | None:
        """Return the tap of a model; None where its logits are not those of one linear layer, unchanged."""
        if not isinstance(model, PreTrainedModel):
            return None
        decoder: Any = model.get_output_embeddings()
        if type(decoder) is not nn.Linear or decoder.weight.is_meta:
            return None
        tap = cls(decoder)
        if not tap._gives_all(model):
            tap.detach()
            return None
        return tap

    @property
    def is_whole(self) -> bool:
        """False while the decoder is a shard of one, whose weights only its own module can use."""
        return not isinstance(self.decoder.weight, DTensor) and self.decoder.weight.ndim == 2

    def detach(self) -> None:
        """Take the hook off again."""
        self._handle.remove()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Keep the states of a pass inside this block; outside it the model is as it was."""
        self._holds, self._states = True, None
        try:
            yield
        finally:
            self._holds = False

    def take(self) -> VocabularyLogits:
        """Return what the pass inside the last block would have made logits of, and hold it no longer."""
        states, self._states = self._states, None
        assert states is not None
        return VocabularyLogits(states, self.decoder.weight, self.decoder.bias)

    def _keep(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Tensor] | None:
        if not self._holds:
            return None
        self._states = args[0]
        return (args[0][:1, :1],)

    def _gives_all(self, model: PreTrainedModel) -> bool:
        """Whether a model's logits are what the decoder makes of the states, found out on a few tokens."""
        device = self.decoder.weight.device
        ids = torch.ones(1, 8, dtype=torch.long, device=device)
        with torch.no_grad(), torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
            try:
                with self.holding():
                    logits = model(input_ids=ids, attention_mask=ids).logits
            except Exception:  # of whatever kind: this is a trial, and the plain way is open
                return False
        if self._states is None or self._states.shape[:2] != ids.shape or logits.shape[:2] != (1, 1):
            return False
        with torch.no_grad():
            expected = self.take().at(slice(0, 1)).logits()[:, :1]
        tolerance = torch.finfo(expected.dtype).eps ** 0.5  # of few rows a product is summed in another order
        return bool((logits - expected).norm() <= tolerance * expected.norm())

    def __deepcopy__(self, memo: dict) -> DecoderTap:
        inert = object.__new__(DecoderTap)  # a copied model carries its hooks along
        inert._holds = False
        return inert


def decoder_of(model: nn.Module) -> nn.Linear | None:
    """Return the linear layer that makes a model's logits; None where they are not its output, unchanged."""
    tap = DecoderTap.of(model)
    if tap is None:
        return None
    tap.detach()
    return tap.decoder
