"""Mix the texts of a batch two and two where their embeddings enter a model's first layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from kdfeatures.capture.families import encoder_of
from kdfeatures.capture.locate import locate_encoder
from kdfeatures.errors import ConfigError


def with_partner(states: Tensor, share: float) -> Tensor:
    """Return share * states + (1 - share) * those of the partner, (B, ...): of text i of a batch it is B - 1 - i."""
    return share * states + (1 - share) * states.flip(0)


class InputMixer:
    """A hook that mixes what a model's first layer takes, layer 0 of `capture`: embeddings, positions and all.

    It is idle outside `mixing`, also where activation checkpointing computes the layer again. A Recorder attached
    after it sees the mixed embeddings.

    Args:
        model: a transformers encoder with or without a head, or any module that holds one.
        encoder: dotted path of the transformers encoder inside a module of one's own; None for the model itself.

    Raises:
        UserError: for a model whose layers cannot be told.
        ConfigError: for one that reads its embeddings elsewhere too.
    """

    def __init__(self, model: nn.Module, encoder: str | None = None) -> None:
        located = locate_encoder(model, encoder)
        parts = encoder_of(located)
        if parts.outputs[0] is not parts.layers[0]:
            raise ConfigError(
                f"{type(located.base_model).__name__} hands its embeddings past the first layer, so that texts cannot "
                "be mixed there",
                hint="leave out mixup",
                key="mixup.embeddings_elsewhere",
                model=type(located.base_model).__name__,
            )
        self._share: float | None = None
        self._layers_called = 0
        self._handles = [
            located.base_model.register_forward_pre_hook(self._start),
            parts.layers[0].register_forward_pre_hook(self._mix, with_kwargs=True),
        ]

    def detach(self) -> None:
        """Take the hooks off again."""
        for handle in self._handles:
            handle.remove()

    @contextmanager
    def mixing(self, share: float) -> Iterator[None]:
        """Let forward passes inside this block see each text with this share, and its partner with the rest."""
        self._share = share
        try:
            yield
        finally:
            self._share = None

    def _start(self, module: nn.Module, args: tuple) -> None:
        self._layers_called = 0

    def _mix(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> tuple[tuple, dict[str, Any]] | None:
        self._layers_called += 1  # a module may compute further layers, as ALBERT's does
        if self._share is None or self._layers_called > 1:
            return None
        states = args[0] if args else kwargs["hidden_states"]
        mixed = with_partner(states, self._share)

        def replaced(given: Any) -> Any:
            return mixed if given is states else given  # Funnel's layers take them as query, key and value

        return tuple(map(replaced, args)), {name: replaced(given) for name, given in kwargs.items()}

    def __deepcopy__(self, memo: dict) -> InputMixer:
        # a copied model carries its hooks along: bound to a mixer that never mixes
        inert = object.__new__(InputMixer)
        inert._share, inert._layers_called = None, 0
        return inert
