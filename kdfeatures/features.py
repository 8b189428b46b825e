"""What a capture holds: hidden states and attention operands by layer; scores, probabilities and relations on demand.

Legend for shapes, used in the whole package:
    B batch, L tokens, D hidden width, H heads, d width of one head (H * d = attention width),
    R relation heads, C classes; suffix _s student, _t teacher.
    Layers count from 1; layer 0 is the embeddings, that is the input of layer 1.

    hidden[n]              (B, L, D)     output of layer n, before any final norm of the model
    hidden["final"]        (B, L, D)     the base model's last hidden state, after any final norm
    attention[n].query     (B, H, L, d)  after bias and rotary embedding; key and value likewise, heads that
                                         several queries share (grouped-query attention) repeated for each
    scores(n)              (B, H, L, L)  scale * q k', before softmax, no mask applied, no dropout
    probabilities(n)       (B, H, L, L)  softmax of the scores over the keys the model may attend to, no dropout
    relation(n, "value")   (B, R, L, L)  softmax(v v' / sqrt(d_r)) over the same keys

    Funnel pools tokens between blocks: its L shrinks with n, and the first layer of a block has fewer queries
    than keys.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from kdfeatures.errors import UserError


class Relation(NamedTuple):
    """Two operands (B, H, L, d) whose scores are `scale * left @ right.mT`, (B, H, L, L).

    Losses take this instead of the L x L scores, so that a sum over token pairs need not hold them.
    """

    left: Tensor
    right: Tensor
    scale: float

    def scores(self) -> Tensor:
        """Return the scores before softmax, (B, H, L, L)."""
        return (self.left * self.scale) @ self.right.mT


class AttentionStates(NamedTuple):
    """The operands of one layer's attention: query, key and value, each (B, H, L, d).

    scale: what the model multiplies q k' with. allowed: what the model was told to attend to, as the
    attention function received it: None (everything), boolean with True = attend, or additive float.
    used: the probabilities (B, H, L, L) that the model computed itself, before dropout; None when it leaves them to a
    kernel. positional: the model adds terms for relative positions to scale * q k' (DeBERTa, MPNet, Funnel), so that
    its scores do not follow from q and k.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    allowed: Tensor | None = None
    used: Tensor | None = None
    positional: bool = False

    @property
    def attention(self) -> Relation:
        """The relation between queries and keys that the model itself uses. Raises UserError when it is positional."""
        if self.positional:
            raise UserError(
                "this model adds relative positions to q k', so its attention scores do not follow from q and k; use "
                "features.probabilities(layer), which are the model's own, or a relation loss (recipe=minilmv2)."
            )
        return Relation(self.query, self.key, self.scale)

    def relation(self, of: Literal["query", "key", "value"], heads: int | None = None) -> Relation:
        """Return the self-relation of queries, keys or values, MiniLMv2 eq. 3 (arXiv:2012.15828).

        heads: relation heads R; the H heads are concatenated to (B, L, H * d) and split again into R, so the
        scale is 1 / sqrt(H * d / R). None keeps the model's own heads (MiniLM's value relation).
        Raises ValueError when R does not divide H * d.
        """
        states: Tensor = getattr(self, of)
        batch, own_heads, length, width = states.shape
        if heads is not None and heads != own_heads:
            if own_heads * width % heads:
                raise ValueError(
                    f"relation heads must divide the attention width, but {heads} does not divide "
                    f"{own_heads * width} ({own_heads} heads of {width})."
                )
            width = own_heads * width // heads
            states = states.transpose(1, 2).reshape(batch, length, heads, width).transpose(1, 2)
        return Relation(states, states, 1 / math.sqrt(width))

    def keep_mask(self) -> Tensor | None:
        """Return `allowed` as a boolean tensor broadcastable to (B, H, L, L), or None when everything is allowed."""
        if self.allowed is None or self.allowed.dtype == torch.bool:
            return self.allowed
        return self.allowed > torch.finfo(self.allowed.dtype).min / 2


class Features:
    """Hidden states and attention operands of the last recorded forward pass; see the legend above.

    Filled by `capture`; indexing a layer that was not asked for raises KeyError and names those that were.
    """

    def __init__(self) -> None:
        self.hidden: dict[int | str, Tensor] = _ByLayer("hidden")
        self.attention: dict[int, AttentionStates] = _ByLayer("attention")
        self.calls: dict[tuple[str, int], int] = {}  # of hooked modules, in this pass; kept by the recorder

    def clear(self) -> None:
        """Drop every tensor, for instance before the next forward pass."""
        self.hidden.clear()
        self.attention.clear()
        self.calls.clear()

    def scores(self, layer: int) -> Tensor:
        """Return the attention scores before softmax, (B, H, L, L), without mask and dropout.

        Raises UserError for a model whose scores do not follow from q and k; its probabilities are captured.
        """
        return self.attention[layer].attention.scores()

    def probabilities(self, layer: int) -> Tensor:
        """Return the attention probabilities, (B, H, L, L), without dropout; rows of padded queries mean nothing."""
        states = self.attention[layer]
        if states.used is not None:
            return states.used
        return _masked_softmax(states.attention.scores(), states.keep_mask())

    def relation(self, layer: int, of: Literal["query", "key", "value"], heads: int | None = None) -> Tensor:
        """Return softmax(x x' / sqrt(d_r)) of queries, keys or values, (B, R, L, L); see AttentionStates.relation."""
        states = self.attention[layer]
        return _masked_softmax(states.relation(of, heads).scores(), states.keep_mask())

    def __repr__(self) -> str:
        lines = [f"hidden {n}: {_describe(x)}" for n, x in sorted(self.hidden.items(), key=_order)]
        for n, states in sorted(self.attention.items()):
            lines.append(f"attention {n}: query, key, value {_describe(states.query)} each")
            if states.used is not None:
                lines.append(f"attention {n}: probabilities {_describe(states.used)}")
        return "Features(\n  " + "\n  ".join(lines) + "\n)" if lines else "Features(empty)"


class _ByLayer(dict):
    def __init__(self, what: str) -> None:
        super().__init__()
        self.what = what

    def __missing__(self, layer):
        raise KeyError(f"{self.what} of layer {layer} was not captured; captured layers: {list(self)}")


def _order(item: tuple) -> tuple[bool, int]:
    return (True, 0) if isinstance(item[0], str) else (False, item[0])


def _masked_softmax(scores: Tensor, keep: Tensor | None) -> Tensor:
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if keep is not None:
        scores = scores.masked_fill(~keep, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1)


def _describe(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}, {tensor.nbytes} bytes"
