"""Capture hidden states and attention operands of chosen layers with hooks, while the model stays on sdpa.

Hidden states: a forward pre-hook on layer 1 (its input is "layer 0") and forward hooks on the chosen layers.
Attention: transformers looks its attention function up by `module.config._attn_implementation` at call time.
Each *chosen* attention module gets a copy of that config naming a function that notes q, k, v and passes the
call on unchanged. The model's own config is not touched, so masks stay as they were, all other layers keep their
kernel, and outputs are bit-identical.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from kdfeatures.encoders import Encoder, encoder_of
from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates, Features

# no "sdpa", "flash", "flex_attention" or "/" inside: transformers matches those as substrings
IMPLEMENTATION = "kdfeatures_capture"


@contextmanager
def capture(model: PreTrainedModel, *, hidden: Sequence[int] = (), attention: Sequence[int] = ()) -> Iterator[Features]:
    """Record features of every forward pass inside the `with` block; nothing stays attached after it.

        with capture(model, hidden=[0, 3, 6], attention=[3, 6]) as features:
            model(**batch)
        features.hidden[3]            # (B, L, D)
        features.probabilities(6)     # (B, H, L, L)

    hidden: layers whose output to keep, 0 = embeddings. attention: layers whose q, k, v to keep, from 1.
    Each forward pass replaces the features of the one before. Raises UserError when a layer does not exist or
    the model's family is unknown, before anything is attached.
    """
    recorder = Recorder(model, hidden=hidden, attention=attention)
    recorder.attach()
    try:
        with recorder.recording() as features:
            yield features
    finally:
        recorder.detach()


class Recorder:
    """The long-lived form of `capture`: attach once, then record chosen forward passes.

    Training needs this: detaching between forward and backward would break gradient checkpointing, which runs
    the layers again during backward, and hooks must not come and go under torch.compile.
    """

    def __init__(self, model: PreTrainedModel, *, hidden: Sequence[int] = (), attention: Sequence[int] = ()) -> None:
        self.encoder: Encoder = encoder_of(model)
        depth = len(self.encoder.layers)
        self.hidden = _checked(hidden, "hidden states", range(0, depth + 1))
        self.attention = _checked(attention, "attention", range(1, depth + 1))
        self.base_model = model.base_model
        self._handles: list = []
        self._features: Features | None = None

    def attach(self) -> None:
        """Put the hooks on; recording starts with `recording()`."""
        if self._handles:
            raise RuntimeError("this recorder is already attached; detach it first.")
        layers = self.encoder.layers
        self._handles.append(self.base_model.register_forward_pre_hook(self._start))
        for n in self.hidden:
            if n == 0:
                handle = layers[0].register_forward_pre_hook(self._keep_input, with_kwargs=True)
            else:
                handle = layers[n - 1].register_forward_hook(partial(self._keep_output, n))
            self._handles.append(handle)
        for n in self.attention:
            self._handles.append(_Tap(self.encoder.attention[n - 1], partial(self._keep_attention, n)))

    def detach(self) -> None:
        """Take everything off again. Safe to call twice."""
        while self._handles:
            self._handles.pop().remove()

    @contextmanager
    def recording(self) -> Iterator[Features]:
        """Keep the features of forward passes inside this block; outside it the hooks do nothing."""
        outer, features = self._features, Features()
        self._features = features
        try:
            yield features
        finally:
            self._features = outer

    def _start(self, module: nn.Module, args: tuple) -> None:
        if self._features is not None:
            self._features.clear()

    def _keep_input(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        if self._features is not None:
            self._features.hidden[0] = args[0] if args else kwargs["hidden_states"]

    def _keep_output(self, n: int, module: nn.Module, args: tuple, output) -> None:
        if self._features is not None:
            self._features.hidden[n] = output[0] if isinstance(output, tuple) else output

    def _keep_attention(self, n: int, states: AttentionStates) -> None:
        if self._features is not None:
            self._features.attention[n] = states

    def __deepcopy__(self, memo: dict) -> Recorder:
        # a model copied inside the block carries its hooks along: bound to a recorder that never records
        inert = object.__new__(Recorder)
        inert._features = None
        return inert


class _Taps(list):
    """Functions that want the attention operands of one module, and the implementation the module had before."""

    def __init__(self, config) -> None:
        super().__init__()
        self.config = config

    def __deepcopy__(self, memo: dict) -> _Taps:
        # a copied model must not write into the recorder of the original
        return _Taps(copy.deepcopy(self.config, memo))


class _Tap:
    """One registration on an attention module; `remove()` has the meaning of a torch hook handle's."""

    def __init__(self, module: nn.Module, keep) -> None:
        self.module, self.keep = module, keep
        taps = module.__dict__.get("_kdfeatures_taps")
        if taps is None:
            taps = module._kdfeatures_taps = _Taps(module.config)
            module.config = copy.copy(module.config)
            # the public setter would also rewrite sub-configs, which the copy shares with the model
            module.config._attn_implementation_internal = IMPLEMENTATION
        taps.append(keep)

    def remove(self) -> None:
        taps = self.module._kdfeatures_taps
        taps.remove(self.keep)
        if not taps:
            self.module.config = taps.config
            del self.module._kdfeatures_taps


def _tapped_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs
) -> tuple[Tensor, Tensor | None]:
    taps: _Taps = module._kdfeatures_taps
    scale = kwargs.get("scaling")
    states = AttentionStates(query, key, value, query.shape[-1] ** -0.5 if scale is None else scale, attention_mask)
    for keep in taps:
        keep(states)
    eager = getattr(sys.modules[type(module).__module__], "eager_attention_forward", None)
    inner = ALL_ATTENTION_FUNCTIONS.get_interface(taps.config._attn_implementation, eager)
    return inner(module, query, key, value, attention_mask, **kwargs)


AttentionInterface.register(IMPLEMENTATION, _tapped_attention)


def _checked(layers: Iterable[int], what: str, existing: range) -> tuple[int, ...]:
    layers = tuple(layers)
    for n in layers:
        if n not in existing:
            raise UserError(
                f"cannot capture {what} of layer {n}: this model has layers {existing[0]} to {existing[-1]}"
                + (" (0 is the embeddings)." if existing[0] == 0 else "; layer 0, the embeddings, has no attention.")
            )
    return tuple(sorted(set(layers)))
