"""What a capture holds: hidden states and attention operands by layer; scores, probabilities and relations on demand.

Legend for shapes, used in the whole package:
    B batch, L tokens, D hidden width, H heads, d width of one head (H * d = attention width),
    R relation heads, C classes, V pieces of a vocabulary; suffix _s student, _t teacher.
    Layers count from 1; layer 0 is the embeddings, that is the input of layer 1.

    hidden[n]              (B, L, D)     output of layer n, before any final norm of the model
    hidden["final"]        (B, L, D)     the base model's last hidden state, after any final norm
    attention[n].query     (B, H, L, d)  after bias and rotary embedding; key and value likewise, heads that
                                         several queries share (grouped-query attention) repeated for each
    attention_scores(n)    (B, H, L, L)  scale * q k' + bias, before softmax, no mask applied, no dropout
    attention_probs(n)     (B, H, L, L)  softmax of the scores over the keys the model may attend to, no dropout
    relation(n, "value")   (B, R, L, L)  softmax(v v' / sqrt(d_r)) over the same keys
    modules["path"]                      what the submodule of this dotted path returned, as it is

    Funnel pools tokens between blocks: its L shrinks with n, and the first layer of a block has fewer queries
    than keys.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Generic, Literal, NamedTuple, NoReturn, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kdfeatures.errors import ConfigError

Operand = Literal["query", "key", "value"]
OPERANDS: tuple[Operand, ...] = ("query", "key", "value")
Key = TypeVar("Key")
Value = TypeVar("Value")


class Relation(NamedTuple):
    """Two operands whose scores are `scale * left @ right.mT + bias`, (B, H, L, L).

    Losses take this instead of the L x L scores, so that a sum over token pairs need not hold them.

    Args:
        left: (B, H, L, d).
        right: (B, H, L, d); the same tensor as `left` for a self-relation.
        scale: what the inner products are multiplied by.
        bias: (B or 1, H, L, L), or None for 0.

    Example:
        >>> import torch
        >>> states = torch.tensor([[1.0, 0.0], [1.0, 1.0]]).view(1, 1, 2, 2)
        >>> Relation(states, states, 0.5).scores()[0, 0].tolist()
        [[0.5, 0.5], [0.5, 1.0]]
    """

    left: Tensor
    right: Tensor
    scale: float
    bias: Tensor | None = None

    def scores(self) -> Tensor:
        """Return the scores before softmax, (B, H, L, L)."""
        scores = (self.left * self.scale) @ self.right.mT
        return scores if self.bias is None else scores + self.bias


class AttentionStates(NamedTuple):
    """The operands of one layer's attention.

    Args:
        query: (B, H, L, d), after bias and rotary embedding.
        key: (B, H, L, d), likewise.
        value: (B, H, L, d).
        scale: what the model multiplies q k' with.
        allowed: what the model was told to attend to, as the attention function received it, broadcastable to
            (B, H, L, L): None (everything), boolean with True = attend, or additive float.
        used: the probabilities (B, H, L, L) that the model computed itself, before dropout; None when it leaves them
            to a kernel.
        bias: what the model adds to scale * q k' for the tokens' relative positions (MPNet, DeBERTa),
            (B or 1, H, L, L); None for nothing.
        positional: the model does more than that to scale * q k' (Funnel, DeBERTa's talking heads), so that its scores
            do not follow from q, k and bias.

    Example:
        >>> import torch
        >>> states = AttentionStates(*torch.ones(3, 2, 4, 5, 6), scale=0.5)  # B 2, H 4, L 5, d 6
        >>> states.attention.scores()[0, 0, 0].tolist()
        [3.0, 3.0, 3.0, 3.0, 3.0]
        >>> states.relation("value", heads=12).left.shape
        torch.Size([2, 12, 5, 2])
    """

    query: Tensor
    key: Tensor
    value: Tensor
    scale: float
    allowed: Tensor | None = None
    used: Tensor | None = None
    positional: bool = False
    bias: Tensor | None = None

    @property
    def attention(self) -> Relation:
        """The relation between queries and keys that the model itself uses.

        Raises:
            ConfigError: when it is positional.
        """
        if self.positional:
            raise ConfigError(
                "this model's attention scores are not known: they do not follow from q, k and a bias alone, or the "
                "bias was not kept",
                hint="use features.attention_probs(layer), which are the model's own, or a relation loss (RelationKL)",
                key="loss.positional",
            )
        return Relation(self.query, self.key, self.scale, self.bias)

    def relation(self, of: Operand, heads: int | None = None) -> Relation:
        """Return the self-relation of queries, keys or values, MiniLMv2 eq. 3 (arXiv:2012.15828).

        Args:
            of: what is related to itself.
            heads: relation heads R; the H heads are concatenated to (B, L, H * d) and split again into R, so the
                scale is 1 / sqrt(H * d / R). None keeps the model's own heads (MiniLM's value relation).

        Returns:
            The relation, operands (B, R, L, H * d / R).

        Raises:
            ConfigError: when R does not divide H * d.
        """
        states: Tensor = getattr(self, of)
        batch, model_heads, length, width = states.shape
        if heads is not None and heads != model_heads:
            if model_heads * width % heads:
                raise ConfigError(
                    f"relation heads must divide the attention width, but {heads} does not divide "
                    f"{model_heads * width} ({model_heads} heads of {width})"
                )
            width = model_heads * width // heads
            states = states.transpose(1, 2).reshape(batch, length, heads, width).transpose(1, 2)
        return Relation(states, states, 1 / math.sqrt(width))

    def probs(self, real: Tensor | None = None) -> Tensor:
        """Return the attention probabilities (B, H, L, L): those that the model computed itself, or of its scores.

        Args:
            real: boolean, broadcastable to (B, H, L, L), keys that are left out beside those not `allowed`; read where
                the model does not compute them itself.
        """
        if self.used is not None:
            return self.used
        keep = self.keep_mask()
        if real is not None:
            keep = real if keep is None else keep & real
        return _masked_softmax(self.attention.scores(), keep)

    def keep_mask(self) -> Tensor | None:
        """Return `allowed` as a boolean tensor broadcastable to (B, H, L, L), or None when everything is allowed."""
        if self.allowed is None or self.allowed.dtype == torch.bool:
            return self.allowed
        return self.allowed > torch.finfo(self.allowed.dtype).min / 2


@dataclass(frozen=True)
class VocabularyLogits:
    """Logits that a decoder would make of states: states @ weight.T + bias.

    states: (..., D). weight: (V, D), tied to the embeddings or not. bias: (V,) or None.
    """

    states: Tensor
    weight: Tensor
    bias: Tensor | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The logits' shape, (..., V)."""
        return *self.states.shape[:-1], len(self.weight)

    def at(self, rows: Tensor | slice) -> VocabularyLogits:
        """Return the logits of chosen rows. rows: indices or a slice of the first dimension, or boolean (...)."""
        return replace(self, states=self.states[rows])

    def logits(self) -> Tensor:
        """Return the logits, (..., V), with their graph."""
        return F.linear(self.states, self.weight, self.bias)

    def operands(self) -> VocabularyLogits:
        """Return these without a graph, in the type in which the model itself would multiply; float16 as float32.

        float16 gradients are scaled up against underflow, but only in backward.
        """
        device = self.states.device.type
        autocast = torch.is_autocast_enabled(device)
        dtype = torch.get_autocast_dtype(device) if autocast else self.weight.dtype
        dtype = torch.float32 if dtype == torch.float16 else dtype
        states, weight = (tensor.detach().to(dtype) for tensor in (self.states, self.weight))
        return VocabularyLogits(states, weight, None if self.bias is None else self.bias.detach().to(dtype))


class FeatureSink(Protocol):
    """Where a recorder (kdfeatures.capture) puts what it records; Features is one that keeps it all.

    In each forward pass of the model a recorder calls
        clear         first, before any layer runs: what comes next belongs to a new pass
        on_hidden     with layer 0 as soon as layer 1 is given it, with layer n as soon as it has been computed, and
                      with "final" once the base model returns
        on_attention  with layer n as soon as its operands are there, that is before on_hidden with the same n
        on_module     as soon as the submodule has returned
    once for each layer and module that was asked for, and for no other: what gradient checkpointing computes again in
    the backward pass is not reported twice. Tensors come with their graph. A sink may compute with them at once, but
    must not change them in place; what it raises ends the forward pass.
    """

    def clear(self) -> None:
        """Forget the pass before."""

    def on_hidden(self, layer: int | str, states: Tensor) -> None:
        """Take the hidden states (B, L, D) of a layer, 0 = embeddings, or "final"."""

    def on_attention(self, layer: int, states: AttentionStates) -> None:
        """Take the attention operands of a layer, from 1."""

    def on_module(self, path: str, output: Any) -> None:
        """Take what the submodule of a dotted path returned."""


class Features:
    """Hidden states, attention operands and outputs of submodules of the last recorded forward pass: a FeatureSink.

    Filled by a recorder, or by hand. Indexing a layer or a module that was not asked for raises KeyError and names
    those that were. See the legend at the top of this file for shapes.

    Attributes:
        hidden: {layer: (B, L, D)}, with "final" for the last hidden state.
        attention: {layer: its AttentionStates}.
        modules: {dotted path: what the submodule returned}.

    Example:
        >>> import torch
        >>> features = Features()
        >>> features.on_hidden(1, torch.zeros(2, 4, 6))  # B 2, L 4, D 6
        >>> features.on_attention(1, AttentionStates(*torch.zeros(3, 2, 3, 4, 2), scale=0.7))  # H 3, d 2
        >>> features.attention_probs(1)[0, 0, 0].tolist()
        [0.25, 0.25, 0.25, 0.25]
        >>> features
        Features(
          hidden 1: (2, 4, 6) float32, 192 bytes
          attention 1: query, key, value (2, 3, 4, 2) float32, 192 bytes each
        )
    """

    def __init__(self) -> None:
        self.hidden: dict[int | str, Tensor] = _Captured("hidden of layer {}", "layers")
        self.attention: dict[int, AttentionStates] = _Captured("attention of layer {}", "layers")
        self.modules: dict[str, Any] = _Captured("output of module {!r}", "modules")

    def clear(self) -> None:
        """Drop everything, for instance before the next forward pass."""
        self.hidden.clear()
        self.attention.clear()
        self.modules.clear()

    def on_hidden(self, layer: int | str, states: Tensor) -> None:
        """Keep the hidden states (B, L, D) of a layer, 0 = embeddings, or "final"."""
        self.hidden[layer] = states

    def on_attention(self, layer: int, states: AttentionStates) -> None:
        """Keep the attention operands of a layer, from 1."""
        self.attention[layer] = states

    def on_module(self, path: str, output: Any) -> None:
        """Keep what the submodule of a dotted path returned."""
        self.modules[path] = output

    def attention_scores(self, layer: int) -> Tensor:
        """Compute the attention scores before softmax, without mask and dropout.

        Args:
            layer: from 1.

        Returns:
            (B, H, L, L).

        Raises:
            ConfigError: for a model whose scores do not follow from q, k and a bias; its probabilities are captured.
            KeyError: for a layer that was not captured.
        """
        return self.attention[layer].attention.scores()

    def attention_probs(self, layer: int) -> Tensor:
        """Compute the attention probabilities, without dropout; rows of padded queries mean nothing.

        Args:
            layer: from 1.

        Returns:
            (B, H, L, L), in float32 or wider unless the model computed them itself.

        Raises:
            KeyError: for a layer that was not captured.
        """
        return self.attention[layer].probs()

    def relation(self, layer: int, of: Operand, heads: int | None = None) -> Tensor:
        """Compute softmax(x x' / sqrt(d_r)) of queries, keys or values; see AttentionStates.relation.

        Args:
            layer: from 1.
            of: what is related to itself.
            heads: relation heads R; None keeps the model's own heads.

        Returns:
            (B, R, L, L).

        Raises:
            ConfigError: when R does not divide the attention width.
            KeyError: for a layer that was not captured.
        """
        states = self.attention[layer]
        return _masked_softmax(states.relation(of, heads).scores(), states.keep_mask())

    def __repr__(self) -> str:
        lines = [f"hidden {layer}: {_describe(x)}" for layer, x in sorted(self.hidden.items(), key=_by_layer)]
        for layer, states in sorted(self.attention.items(), key=_by_layer):
            lines.append(f"attention {layer}: query, key, value {_describe(states.query)} each")
            if states.used is not None:
                lines.append(f"attention {layer}: probabilities {_describe(states.used)}")
        lines += [f"module {path}: {_describe(output)}" for path, output in self.modules.items()]
        return "Features(\n  " + "\n  ".join(lines) + "\n)" if lines else "Features(empty)"


class _Captured(dict[Key, Value], Generic[Key, Value]):
    """A dict that says of a missing key what was captured instead."""

    def __init__(self, of: str, plural: str) -> None:
        super().__init__()
        self.of, self.plural = of, plural

    def __missing__(self, key: Key) -> NoReturn:
        raise KeyError(f"{self.of.format(key)} was not captured; captured {self.plural}: {list(self)}")


def _by_layer(item: tuple[object, object]) -> tuple[str, bool, int]:
    """Sort by teacher, where there are several and the key is (teacher, layer), then by layer, "final" last."""
    teacher, layer = item[0] if isinstance(item[0], tuple) else ("", item[0])
    return (teacher, False, layer) if isinstance(layer, int) else (teacher, True, 0)


def _masked_softmax(scores: Tensor, keep: Tensor | None) -> Tensor:
    scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
    if keep is not None:
        scores = scores.masked_fill(~keep, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1)


def _describe(output: Any) -> str:
    if isinstance(output, Tensor):
        return f"{tuple(output.shape)} {str(output.dtype).removeprefix('torch.')}, {output.nbytes} bytes"
    if isinstance(output, (tuple, list)):
        return f"{type(output).__name__} of " + "; ".join(_describe(part) for part in output)
    return type(output).__name__
