"""Attention modules that do not dispatch: q, k, v from hooks on their projections, probabilities before dropout.

Each function below reads the operands of one family off the outputs of its projections and off the arguments of the
attention module (`call`). The probabilities are the model's own, after softmax and before dropout, which a pre-hook
on the dropout sees; nothing is computed anew but the rotation of RoFormer's q and k.
"""

from __future__ import annotations

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
    """

    names: tuple[str, ...]
    operands: Operands
    dropout: str = "dropout"


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
        self.handles = [
            module.register_forward_pre_hook(self._open, with_kwargs=True),
            module.get_submodule(projections.dropout).register_forward_pre_hook(partial(self._close, module)),
        ]
        for name in projections.names:
            self.handles.append(module.get_submodule(name).register_forward_hook(partial(self._note, name)))

    def remove(self) -> None:
        while self.handles:
            self.handles.pop().remove()

    def _open(self, module: nn.Module, args: tuple, kwargs: dict) -> None:
        # also drops what a call that was cut short has left: re-computation under checkpointing stops midway
        self.outputs = {}
        self.call = dict(zip(self.parameters, args, strict=False)) | kwargs

    def _note(self, name: str, module: nn.Module, args: tuple, output: Tensor) -> None:
        # DeBERTa-v2 may project position embeddings with the same weights, after the tokens
        if name not in self.outputs:
            self.outputs[name] = output

    def _close(self, attention: nn.Module, dropout: nn.Module, args: tuple) -> None:
        states = self.operands(attention, [self.outputs[name] for name in self.names], self.call)
        self.outputs, self.call = {}, {}
        self.keep(states._replace(used=args[0]))


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.view(*x.shape[:-1], heads, -1).transpose(1, 2)  # (B, L, H * d) -> (B, H, L, d)


class _WithHeads(Protocol):
    num_attention_heads: int


class _RoFormer(_WithHeads, Protocol):
    rotary_value: bool

    def apply_rotary_position_embeddings(self, sinusoidal_pos: Tensor, *layers: Tensor) -> Sequence[Tensor]: ...


class _DebertaV2(_WithHeads, Protocol):
    relative_attention: bool
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
    """MPNet: a learned bias per head and distance is added to the scores."""
    return separate(module, outputs, call)._replace(positional=call.get("position_bias") is not None)


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
    positional = module.relative_attention or module.talking_head
    scale = (query.shape[-1] * terms) ** -0.5
    return AttentionStates(query, key, value, scale, call["attention_mask"].bool(), positional=positional)


def deberta_v2(module: _DebertaV2, outputs: Sequence[Tensor], call: dict[str, Any]) -> AttentionStates:
    """DeBERTa-v2 and v3: three projections; position terms next to q k'."""
    query, key, value = (_heads(x, module.num_attention_heads) for x in outputs)
    terms = 1 + ("c2p" in module.pos_att_type) + ("p2c" in module.pos_att_type)
    scale, allowed = (query.shape[-1] * terms) ** -0.5, call["attention_mask"].bool()
    return AttentionStates(query, key, value, scale, allowed, positional=module.relative_attention)


def funnel(module: _Funnel, outputs: Sequence[Tensor], call: dict[str, Any]) -> AttentionStates:
    """Funnel: where a block begins, queries are pooled, so that there are fewer of them than keys."""
    query, key, value = (_heads(x, module.config.n_head) for x in outputs)
    mask: Tensor | None = call["attention_inputs"][2]  # (B, keys), 1 = attend
    allowed = None if mask is None else mask[:, None, None].to(torch.bool)
    return AttentionStates(query, key, value, module.scale, allowed, positional=True)
