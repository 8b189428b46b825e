"""Attention modules that do not dispatch: q, k, v from hooks on their projections, probabilities before dropout.

Each function below reads the operands of one family off the outputs of its projections and off the arguments of the
attention module (`call`). The probabilities are the model's own, after softmax and before dropout, which a pre-hook
on the dropout sees; position terms are what the model's own method returns, which is noted in passing. Nothing is
computed anew but the rotation of RoFormer's q and k.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kdfeatures.features import AttentionStates

Operands = Callable[[Any, Sequence[Tensor], dict[str, Any]], AttentionStates]


@dataclass(frozen=True)
class AttentionProjections:
    """Names below the attention module: the linear maps whose outputs hold q, k, v, and the dropout of the map.

    operands: (attention module, outputs of the projections, arguments of its forward) -> AttentionStates. What it reads
        off the module is in the type of its first argument.
    bias: the name of the module's method that returns what is added to the scores; None without such.
    """

    names: tuple[str, ...]
    operands: Operands
    dropout: str = "dropout"
    bias: str | None = None


class _NotedMethod:
    """A method of one attention module that hands what it returns to whoever listens."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.module, self.name = module, name
        self.listeners: list[Callable[[Tensor], None]] = []

    @classmethod
    def on(cls, module: nn.Module, name: str) -> _NotedMethod:
        """Return the one that stands in the place of a module's method, put there if there is none yet."""
        if name not in module.__dict__:
            module.__dict__[name] = cls(module, name)
        noted: _NotedMethod = module.__dict__[name]
        return noted

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        returned: Tensor = getattr(type(self.module), self.name)(self.module, *args, **kwargs)
        for listener in self.listeners:
            listener(returned)
        return returned

    def leave(self, listener: Callable[[Tensor], None]) -> None:
        """Forget a listener, and give the module its method back when it was the last."""
        self.listeners.remove(listener)
        if not self.listeners:
            del self.module.__dict__[self.name]

    def __deepcopy__(self, memo: dict[int, Any]) -> _NotedMethod:
        # a copied model must not write into the recorder of the original
        return _NotedMethod(copy.deepcopy(self.module, memo), self.name)


class EagerTap:
    """Hooks on one attention module; `keep` gets its AttentionStates. `remove()` as a torch hook handle's."""

    def __init__(
        self, module: nn.Module, projections: AttentionProjections, keep: Callable[[AttentionStates], None]
    ) -> None:
        self.operands, self.keep = projections.operands, keep
        self.parameters = list(inspect.signature(module.forward).parameters)
        self.outputs: dict[str, Tensor] = {}
        self.names = projections.names
        self.call: dict[str, Any] = {}
        self.bias: Tensor | None = None
        self.noted: _NotedMethod | None = None
        if projections.bias is not None and hasattr(module, projections.bias):
            self.noted = _NotedMethod.on(module, projections.bias)
            self.noted.listeners.append(self._note_bias)
        self.handles = [
            module.register_forward_pre_hook(self._open, with_kwargs=True),
            module.get_submodule(projections.dropout).register_forward_pre_hook(partial(self._close, module)),
        ]
        for name in projections.names:
            self.handles.append(module.get_submodule(name).register_forward_hook(partial(self._note, name)))

    def remove(self) -> None:
        while self.handles:
            self.handles.pop().remove()
        if self.noted is not None:
            self.noted.leave(self._note_bias)
            self.noted = None

    def _open(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        # also drops what a call that was cut short has left: re-computation under checkpointing stops midway
        self.outputs, self.bias = {}, None
        self.call = dict(zip(self.parameters, args, strict=False)) | kwargs

    def _note(self, name: str, module: nn.Module, args: tuple, output: Tensor) -> None:
        # DeBERTa-v2 may project position embeddings with the same weights, after the tokens
        if name not in self.outputs:
            self.outputs[name] = output

    def _note_bias(self, bias: Tensor | int) -> None:
        self.bias = bias if isinstance(bias, Tensor) else None  # DeBERTa without any term returns 0

    def _close(self, attention: nn.Module, dropout: nn.Module, args: tuple) -> None:
        states = self.operands(attention, [self.outputs[name] for name in self.names], self.call)
        if self.bias is not None:  # DeBERTa-v2 has heads in the batch
            states = states._replace(bias=self.bias.view(*states.query.shape[:3], -1))
        self.outputs, self.call, self.bias = {}, {}, None
        self.keep(states._replace(used=args[0]))


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)  # (B, L, H * d) -> (B, H, L, d)


class _WithHeads(Protocol):
    num_attention_heads: int


class _RoFormer(_WithHeads, Protocol):
    rotary_value: bool

    def apply_rotary_position_embeddings(self, sinusoidal_pos: Tensor, *layers: Tensor) -> Sequence[Tensor]: ...


class _DebertaV2(_WithHeads, Protocol):
    pos_att_type: Sequence[str]


class _Deberta(_DebertaV2, Protocol):
    q_bias: Tensor
    v_bias: Tensor
    talking_head: bool


class _Funnel(Protocol):
    config: Any
    scale: float


def separate(module: _WithHeads, outputs: Sequence[Tensor], call: dict[str, Any]) -> AttentionStates:
    """BERT's form: three projections, scores q k' / sqrt(d), an additive mask."""
    query, key, value = (_heads(x, module.num_attention_heads) for x in outputs)
    return AttentionStates(query, key, value, query.shape[-1] ** -0.5, call.get("attention_mask"))


def position_bias(module: _WithHeads, outputs: Sequence[Tensor], call: dict[str, Any]) -> AttentionStates:
    """MPNet: a learned bias per head and distance is added to the scores, the same for all texts."""
    bias: Tensor | None = call.get("position_bias")
    return separate(module, outputs, call)._replace(bias=None if bias is None else bias[:1])


def roformer(module: _RoFormer, outputs: Sequence[Tensor], call: dict[str, Any]) -> AttentionStates:
    """RoFormer: q and k (and v with `rotary_value`) are rotated after the projection, by the model's own function."""
    states = separate(module, outputs, call)
    angles = call.get("sinusoidal_pos")
    if angles is None:
        return states
    names = ("query", "key", "value") if module.rotary_value else ("query", "key")
    rotated = module.apply_rotary_position_embeddings(angles, *(getattr(states, name) for name in names))
    operands = dict(zip(names, rotated, strict=True))
    return states._replace(query=operands["query"], key=operands["key"], value=operands.get("value", states.value))


def deberta(module: _Deberta, outputs: Sequence[Tensor], call: dict[str, Any]) -> AttentionStates:
    """DeBERTa: one fused projection, head by head; biases on q and v; position terms next to q k'."""
    query, key, value = _heads(outputs[0], module.num_attention_heads).chunk(3, dim=-1)
    query = query + _heads(module.q_bias[None, None], module.num_attention_heads)
    value = value + _heads(module.v_bias[None, None], module.num_attention_heads)
    terms = 1 + len(module.pos_att_type)
    scale = (query.shape[-1] * terms) ** -0.5
    return AttentionStates(query, key, value, scale, call["attention_mask"].bool(), positional=module.talking_head)


def deberta_v2(module: _DebertaV2, outputs: Sequence[Tensor], call: dict[str, Any]) -> AttentionStates:
    """DeBERTa-v2 and v3: three projections; position terms next to q k'."""
    query, key, value = (_heads(x, module.num_attention_heads) for x in outputs)
    terms = 1 + ("c2p" in module.pos_att_type) + ("p2c" in module.pos_att_type)
    scale, allowed = (query.shape[-1] * terms) ** -0.5, call["attention_mask"].bool()
    return AttentionStates(query, key, value, scale, allowed)


def funnel(module: _Funnel, outputs: Sequence[Tensor], call: dict[str, Any]) -> AttentionStates:
    """Funnel: where a block begins, queries are pooled, so that there are fewer of them than keys."""
    query, key, value = (_heads(x, module.config.n_head) for x in outputs)
    mask: Tensor | None = call["attention_inputs"][2]  # (B, keys), 1 = attend
    allowed = None if mask is None else mask[:, None, None].to(torch.bool)
    return AttentionStates(query, key, value, module.scale, allowed, positional=True)
