"""Hooks that record hidden states and attention operands of chosen layers, while the model stays on sdpa.

Hidden states: a forward pre-hook on layer 1 (its input is "layer 0") and forward hooks on the chosen layers.
Attention: kdfeatures.capture.dispatch where the model dispatches through transformers' attention functions,
kdfeatures.capture.eager where the attention module computes it by itself. Nothing is computed anew, so outputs are
bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch._dynamo import config as compiler_config
from transformers import PreTrainedModel

from kdfeatures.capture.dispatch import DispatchTap, check_implementation
from kdfeatures.capture.eager import EagerTap
from kdfeatures.capture.families import Encoder, encoder_of
from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates, Features

# torch.compile does not look at hooks again once a model is compiled, so those attached later would never fire. With
# this setting it compiles anew when they have changed; what was compiled before this line is dropped once.
compiler_config.skip_nnmodule_hook_guards = False
torch.compiler.reset()

FINAL = "final"
Layers = Sequence["int | Literal['final']"]


class _Complete(BaseException):
    """All that a recorder waits for is there. No Exception, so that no model's error handling takes it for one."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder


class Recorder:
    """The long-lived form of `capture`: attach once, then record chosen forward passes.

    Training needs this: detaching between forward and backward would break gradient checkpointing, which runs
    the layers again during backward, and a compiled model is compiled anew when its hooks have changed.
    """

    def __init__(self, model: PreTrainedModel, *, hidden: Layers = (), attention: Sequence[int] = ()) -> None:
        self.encoder: Encoder = encoder_of(model)
        depth = len(self.encoder.layers)
        hidden = tuple(hidden)
        self.hidden = _checked((n for n in hidden if n != FINAL), "hidden states", range(0, depth + 1))
        self.final = FINAL in hidden
        self.attention = _checked(attention, "attention", range(1, depth + 1))
        if self.attention and self.encoder.eager is None:
            check_implementation(self.encoder.attention[0])
        self.model, self.base_model = model, model.base_model
        self._handles: list = []
        self._features: Features | None = None
        self._stops = False

    def attach(self) -> None:
        """Put the hooks on; recording starts with `recording()` or `run()`."""
        if self._handles:
            raise RuntimeError("this recorder is already attached; detach it first.")
        self._handles.append(self.base_model.register_forward_pre_hook(self._start))
        if 0 in self.hidden:
            first = self.encoder.layers[0]
            self._handles.append(first.register_forward_pre_hook(self._keep_input, with_kwargs=True))
        for module, numbers in _by_module(self.encoder.outputs, self.hidden):
            self._handles.append(module.register_forward_hook(partial(self._keep_output, numbers)))
        for module, numbers in _by_module(self.encoder.attention, self.attention):
            keep = partial(self._keep_attention, numbers)
            eager = self.encoder.eager
            self._handles.append(DispatchTap(module, keep) if eager is None else EagerTap(module, eager, keep))
        if self.final:
            self._handles.append(self.base_model.register_forward_hook(self._keep_final))

    def detach(self) -> None:
        """Take everything off again. Safe to call twice."""
        while self._handles:
            self._handles.pop().remove()

    @contextmanager
    def recording(self, features: Features | None = None) -> Iterator[Features]:
        """Keep the features of forward passes inside this block, in `features` if given; outside it hooks are idle."""
        self._refuse_reentrant_checkpointing()
        outer, features = self._features, Features() if features is None else features
        self._features = features
        try:
            yield features
        finally:
            self._features = outer

    def run(self, **inputs) -> Features:
        """Run one forward pass of the attached model, ended as soon as all features are there, and return them.

        The pass ends by an exception that a hook raises and this method catches: the layers that follow, the final
        norm and the head never run. (Putting identities in their place would return wrong logits.) A compiled model
        runs to its end, since its graph cannot stop midway; the features are the same.
        """
        if not (self.hidden or self.final or self.attention):
            raise UserError("no features were asked for, so there is no layer to stop at; name hidden or attention.")
        if not self._handles:
            raise RuntimeError("attach this recorder before you run it.")
        with self.recording() as features:
            self._stops = True
            try:
                self.model(**inputs)
            except _Complete as complete:
                if complete.recorder is not self:
                    raise
            finally:
                self._stops = False
        return features

    def _start(self, module: nn.Module, args: tuple) -> None:
        if self._features is not None:
            self._features.clear()

    def _due(self, what: str, numbers: tuple[int, ...]) -> int | None:
        """Which layer a module computes by this call; None for one more than it has, a re-computation in backward."""
        calls = self._features.calls
        count = calls.get((what, numbers[0]), 0)
        calls[what, numbers[0]] = count + 1
        return numbers[count] if count < len(numbers) else None

    def _keep_input(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if self._features is not None and 0 not in self._features.hidden:
            self._features.hidden[0] = args[0] if args else kwargs["hidden_states"]
            self._stop_if_complete()

    def _keep_output(self, numbers: tuple[int, ...], module: nn.Module, args: tuple, output) -> None:
        if self._features is not None:
            n = self._due("hidden", numbers)
            if n in self.hidden:
                self._features.hidden[n] = output[0] if isinstance(output, tuple) else output
                self._stop_if_complete()

    def _keep_attention(self, numbers: tuple[int, ...], states: AttentionStates) -> None:
        if self._features is not None:
            n = self._due("attention", numbers)
            if n in self.attention:
                self._features.attention[n] = states
                self._stop_if_complete()

    def _keep_final(self, module: nn.Module, args: tuple, output) -> None:
        if self._features is not None:
            self._features.hidden[FINAL] = output[0]
            self._stop_if_complete()

    def _stop_if_complete(self) -> None:
        if not self._stops or torch.compiler.is_compiling():
            return
        asked = len(self.hidden) + self.final + len(self.attention)
        if len(self._features.hidden) + len(self._features.attention) == asked:
            raise _Complete(self)

    def _refuse_reentrant_checkpointing(self) -> None:
        for layer in self.encoder.layers if torch.is_grad_enabled() else ():
            if layer.training and getattr(layer, "gradient_checkpointing", False):
                if layer._gradient_checkpointing_func.keywords.get("use_reentrant", True):
                    raise UserError(
                        "gradient checkpointing with use_reentrant=True drops the gradients of captured features; "
                        "enable it with use_reentrant=False."
                    )

    def __deepcopy__(self, memo: dict) -> Recorder:
        # a model copied inside the block carries its hooks along: bound to a recorder that never records
        inert = object.__new__(Recorder)
        inert._features = None
        return inert


def _by_module(modules: list[nn.Module], asked: tuple[int, ...]) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """Return each module that computes a layer asked for, once, with all layers it computes, in order."""
    found: dict[int, list[int]] = {}
    for n, module in enumerate(modules, 1):
        found.setdefault(id(module), []).append(n)
    return [(modules[ns[0] - 1], tuple(ns)) for ns in found.values() if not set(ns).isdisjoint(asked)]


def _checked(layers: Iterable[int], what: str, existing: range) -> tuple[int, ...]:
    layers = tuple(layers)
    for n in layers:
        if n not in existing:
            raise UserError(
                f"cannot capture {what} of layer {n}: this model has layers {existing[0]} to {existing[-1]}"
                + (" (0 is the embeddings)." if existing[0] == 0 else "; layer 0, the embeddings, has no attention.")
            )
    return tuple(sorted(set(layers)))
