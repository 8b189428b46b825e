"""Batches whose texts are mixed two and two, as student and teachers read them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn

from kdfeatures.capture.mixing import InputMixer

MASK = "attention_mask"


class BatchMixer:
    """Mixes what several models read.

    Args:
        models: (model, dotted path of its encoder inside a module of one's own, or None) of all that read a batch.
    """

    def __init__(self, models: Iterable[tuple[nn.Module, str | None]]) -> None:
        self._mixers = [InputMixer(model, encoder) for model, encoder in models]

    @contextmanager
    def mixing(self, inputs: Mapping[str, Any], share: float) -> Iterator[dict[str, Any]]:
        """Let the models see mixed texts inside this block, and yield the inputs with the mask of both texts of each.

        inputs: of B texts, with token ids and, where texts differ in length, their mask (B, L).
        """
        mixed = dict(inputs)
        if inputs.get(MASK) is not None:
            mixed[MASK] = torch.maximum(inputs[MASK], inputs[MASK].flip(0))
        with ExitStack() as stack:
            for mixer in self._mixers:
                stack.enter_context(mixer.mixing(share))
            yield mixed

    def detach(self) -> None:
        """Take the hooks off all models."""
        for mixer in self._mixers:
            mixer.detach()
