"""Hooks that hand hidden states and attention operands of chosen layers to a sink, while the model stays on sdpa.

Hidden states: a forward pre-hook on layer 1 (its input is "layer 0") and forward hooks on the chosen layers.
Attention: kdfeatures.capture.dispatch where the model dispatches through transformers' attention functions,
kdfeatures.capture.eager where the attention module computes it by itself. Nothing is computed anew, so outputs are
bit-identical.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdfeatures.capture.compiled import watch_hooks
from kdfeatures.capture.dispatch import DispatchTap, check_implementation
from kdfeatures.capture.eager import EagerTap
from kdfeatures.capture.families import Encoder, encoder_of
from kdfeatures.capture.locate import locate_encoder, locate_module
from kdfeatures.errors import ConfigError
from kdfeatures.features import AttentionStates, Features, FeatureSink

FINAL: Literal["final"] = "final"
Layers = Sequence["int | Literal['final']"]


class _Complete(BaseException):
    """All that a recorder waits for is there. No Exception, so that no model's error handling takes it for one."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder


class _Pass:
    """What has been seen of the present forward pass, and who is told of it."""

    def __init__(self, sink: FeatureSink) -> None:
        self.sink = sink
        self.restart()

    def restart(self) -> None:
        self.calls: dict[tuple[str, int], int] = {}
        self.recorded: set[tuple[str, int | str]] = set()


class Recorder:
    """The long-lived form of `capture`: attach once, then record chosen forward passes.

    Training needs this: detaching between forward and backward would break gradient checkpointing, which runs
    the layers again during backward, and a compiled model is compiled anew when its hooks have changed.

    Args:
        model: a transformers encoder with or without a head, or any module that holds one.
        hidden: layers whose output to record, 0 the embeddings, "final" the base model's last hidden state.
        attention: layers whose query, key and value to record, from 1.
        modules: dotted paths of submodules whose output to record, of any module.
        encoder: dotted path of the transformers encoder inside a module of one's own; None for the model itself.

    Raises:
        UserError: for a layer or a module that does not exist, and a model that cannot be captured.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        hidden: Layers = (),
        attention: Sequence[int] = (),
        modules: Sequence[str] = (),
        encoder: str | None = None,
    ) -> None:
        self.model = model
        hidden = tuple(hidden)
        self.final = FINAL in hidden
        self.modules = {path: locate_module(model, path) for path in modules}
        self.encoder: Encoder | None = None
        self.hidden: tuple[int, ...] = ()
        self.attention: tuple[int, ...] = ()
        if hidden or attention:
            located = locate_encoder(model, encoder)
            self.base_model: nn.Module = located.base_model
            self.encoder = encoder_of(located)
            depth = len(self.encoder.layers)
            self.hidden = _checked((n for n in hidden if n != FINAL), "hidden states", range(0, depth + 1))
            self.attention = _checked(attention, "attention", range(1, depth + 1))
            if self.attention and self.encoder.eager is None:
                check_implementation(self.encoder.attention[0])
        else:
            self.base_model = model
        self._handles: list[Any] = []
        self._pass: _Pass | None = None
        self._stops = False

    def attach(self) -> None:
        """Put the hooks on; recording starts with `recording()` or `run()`."""
        if self._handles:
            raise RuntimeError("this recorder is already attached; detach it first.")
        watch_hooks()
        self._handles.append(self.base_model.register_forward_pre_hook(self._start))
        if self.encoder is not None:
            self._attach_layers(self.encoder)
        for path, module in self.modules.items():
            self._handles.append(module.register_forward_hook(partial(self._record_module, path)))
        if self.final:
            self._handles.append(self.base_model.register_forward_hook(self._record_final))

    def _attach_layers(self, encoder: Encoder) -> None:
        if 0 in self.hidden:
            self._handles.append(encoder.layers[0].register_forward_pre_hook(self._record_input, with_kwargs=True))
        for module, numbers in _by_module(encoder.outputs, self.hidden):
            self._handles.append(module.register_forward_hook(partial(self._record_output, numbers)))
        for module, numbers in _by_module(encoder.attention, self.attention):
            keep = partial(self._record_attention, numbers)
            eager = encoder.eager
            self._handles.append(DispatchTap(module, keep) if eager is None else EagerTap(module, eager, keep))

    def detach(self) -> None:
        """Take everything off again. Safe to call twice."""
        while self._handles:
            self._handles.pop().remove()

    @contextmanager
    def recording(self, sink: FeatureSink) -> Iterator[None]:
        """Hand what forward passes inside this block compute to the sink; outside it hooks are idle."""
        self._refuse_reentrant_checkpointing()
        outer, self._pass = self._pass, _Pass(sink)
        try:
            yield
        finally:
            self._pass = outer

    def run(self, *args: Any, **inputs: Any) -> Features:
        """Run one forward pass of the attached model, ended as soon as all features are there, and return them.

        The pass ends by an exception that a hook raises and this method catches: the layers that follow, the final
        norm and the head never run. (Putting identities in their place would return wrong logits.) A compiled model
        runs to its end, since its graph cannot stop midway; the features are the same.
        """
        if not (self.hidden or self.final or self.attention or self.modules):
            raise ConfigError(
                "no features were asked for, so there is no layer to stop at", hint="name hidden or attention"
            )
        if not self._handles:
            raise RuntimeError("attach this recorder before you run it.")
        features = Features()
        with self.recording(features):
            self._stops = True
            try:
                self.model(*args, **inputs)
            except _Complete as complete:
                if complete.recorder is not self:
                    raise
            finally:
                self._stops = False
        return features

    def _start(self, module: nn.Module, args: tuple) -> None:
        if self._pass is not None:
            self._pass.restart()
            self._pass.sink.clear()

    def _due(self, kind: str, numbers: tuple[int, ...]) -> int | None:
        """Which layer a module computes by this call; None for one more than it has, a re-computation in backward."""
        assert self._pass is not None
        count = self._pass.calls.get((kind, numbers[0]), 0)
        self._pass.calls[kind, numbers[0]] = count + 1
        return numbers[count] if count < len(numbers) else None

    def _record_input(self, module: nn.Module, args: tuple, kwargs: dict[str, Any]) -> None:
        if self._pass is not None and ("hidden", 0) not in self._pass.recorded:
            self._on_hidden(0, args[0] if args else kwargs["hidden_states"])

    def _record_output(self, numbers: tuple[int, ...], module: nn.Module, args: tuple, output: Any) -> None:
        if self._pass is not None:
            n = self._due("hidden", numbers)
            if n is not None and n in self.hidden:
                self._on_hidden(n, output[0] if isinstance(output, tuple) else output)

    def _record_attention(self, numbers: tuple[int, ...], states: AttentionStates) -> None:
        if self._pass is not None:
            n = self._due("attention", numbers)
            if n is not None and n in self.attention:
                self._pass.sink.on_attention(n, states)
                self._mark_recorded("attention", n)

    def _record_final(self, module: nn.Module, args: tuple, output: Any) -> None:
        if self._pass is not None:
            self._on_hidden(FINAL, output[0])

    def _record_module(self, path: str, module: nn.Module, args: tuple, output: Any) -> None:
        if self._pass is not None:
            self._pass.sink.on_module(path, output)
            self._mark_recorded("module", path)

    def _on_hidden(self, layer: int | Literal["final"], states: Tensor) -> None:
        assert self._pass is not None
        self._pass.sink.on_hidden(layer, states)
        self._mark_recorded("hidden", layer)

    def _mark_recorded(self, kind: str, key: int | str) -> None:
        assert self._pass is not None
        self._pass.recorded.add((kind, key))
        if not self._stops or torch.compiler.is_compiling():
            return
        expected = len(self.hidden) + self.final + len(self.attention) + len(self.modules)
        if len(self._pass.recorded) == expected:
            raise _Complete(self)

    def _refuse_reentrant_checkpointing(self) -> None:
        layers: Sequence[Any] = self.encoder.layers if self.encoder is not None and torch.is_grad_enabled() else ()
        for layer in layers:
            if layer.training and getattr(layer, "gradient_checkpointing", False):
                if layer._gradient_checkpointing_func.keywords.get("use_reentrant", True):
                    raise ConfigError(
                        "gradient checkpointing with use_reentrant=True drops the gradients of captured features",
                        hint="enable it with use_reentrant=False",
                    )

    def __deepcopy__(self, memo: dict) -> Recorder:
        # a model copied inside the block carries its hooks along: bound to a recorder that never records
        inert = object.__new__(Recorder)
        inert._pass = None
        return inert


def _by_module(modules: list[nn.Module], layers: tuple[int, ...]) -> list[tuple[nn.Module, tuple[int, ...]]]:
    """Return each module that computes a wanted layer, once, with all layers it computes, in order."""
    numbers_of: dict[int, list[int]] = {}
    for n, module in enumerate(modules, 1):
        numbers_of.setdefault(id(module), []).append(n)
    return [(modules[ns[0] - 1], tuple(ns)) for ns in numbers_of.values() if not set(ns).isdisjoint(layers)]


def _checked(layers: Iterable[int | str], kind: str, existing: range) -> tuple[int, ...]:
    numbers = tuple(layers)
    for n in numbers:
        if n not in existing:
            raise ConfigError(
                f"cannot capture {kind} of layer {n}: this model has layers {existing[0]} to {existing[-1]}"
                + (" (0 is the embeddings)" if existing[0] == 0 else "; layer 0, the embeddings, has no attention")
            )
    return tuple(sorted({int(n) for n in numbers}))
