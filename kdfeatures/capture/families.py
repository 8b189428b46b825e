"""One row per model family: where its layers and attention modules are, and how its config names sizes.

To add a family, add a row to FAMILIES; nothing else dispatches on a model's name. A family without a row is searched
by kdfeatures.capture.discovery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from kdfeatures.capture import eager
from kdfeatures.capture.discovery import discover
from kdfeatures.capture.eager import AttentionProjections
from kdfeatures.errors import UserError, nearest


def _albert_layers(base: PreTrainedModel) -> list[nn.Module]:
    # a handful of modules that are called many times: the same module appears once for every layer it computes
    encoder: Any = base.encoder
    depth, groups = base.config.num_hidden_layers, encoder.albert_layer_groups
    return [layer for n in range(depth) for layer in groups[int(n / (depth / len(groups)))].albert_layers]


def _albert_groups(config: PreTrainedConfig) -> str | None:
    if config.num_hidden_groups == 1 and config.inner_group_num == 1:
        return None
    return (
        f"its {config.num_hidden_groups} groups of {config.inner_group_num} layers are spread anew over another depth"
    )


def _funnel_layers(base: PreTrainedModel) -> list[nn.Module]:
    encoder: Any = base.encoder
    repeats = base.config.block_repeats
    return [
        layer for block, count in zip(encoder.blocks, repeats, strict=True) for layer in block for _ in range(count)
    ]


def _after_convolution(base: PreTrainedModel, layers: list[nn.Module]) -> list[nn.Module]:
    # DeBERTa-v2 may mix a convolution of the embeddings into what layer 1 hands to layer 2
    encoder: Any = base.encoder
    return layers if encoder.conv is None else [encoder.conv, *layers[1:]]


@dataclass(frozen=True)
class Family:
    """Where the parts are. Paths are dotted: `layers` below the base model, `attention` below a layer.

    layers: the ModuleList of layers, or a function that lists a module once for every layer it computes.
    attention: the module that holds q, k, v.
    eager: None when the attention module dispatches through transformers' ALL_ATTENTION_FUNCTIONS; else where the
    module's own code projects q, k, v and drops out probabilities.
    outputs: the modules whose outputs are those of the layers, where these are not the layers themselves.
    heads, width: the config's number of attention heads and their total width H * d.
    positional: whether attention adds position terms to q k'.
    hides_scores: why scores before softmax are not compared; None where they follow from q, k and position terms.
    resizable: whether a student's config follows from a teacher's by other widths (kdfeatures.models.students).
    uncuttable: why no student of fewer layers follows from a config; None where one does, layers copied one by one.
    first_stays: whether the first layer is of another make than all others, so that a student begins with it.
    by_depth: parts whose sizes follow from the number of layers, which no student takes over.
    """

    layers: str | Callable[[PreTrainedModel], list[nn.Module]]
    attention: str
    intermediate_size: str = "intermediate_size"  # the config's name for the feed-forward width
    eager: AttentionProjections | None = None
    outputs: Callable[[PreTrainedModel, list[nn.Module]], list[nn.Module]] = lambda base, layers: layers
    heads: Callable[[PreTrainedConfig], int] = lambda config: config.num_attention_heads
    width: Callable[[PreTrainedConfig], int] = lambda config: config.hidden_size
    positional: Callable[[PreTrainedConfig], bool] = lambda config: False
    hides_scores: Callable[[PreTrainedConfig], str | None] = lambda config: None
    resizable: bool = True
    uncuttable: Callable[[PreTrainedConfig], str | None] = lambda config: None
    first_stays: bool = False
    by_depth: tuple[str, ...] = ()


def _bert(**more: Any) -> Family:
    return Family(layers="encoder.layer", attention="attention.self", **more)


def _with_head_dim(config: PreTrainedConfig) -> int:
    head_dim = getattr(config, "head_dim", None)  # newer configs may set it apart from the hidden size
    return config.hidden_size if head_dim is None else config.num_attention_heads * head_dim


ROTARY = Family(layers="layers", attention="self_attn", width=_with_head_dim)
GROUPED = replace(ROTARY, resizable=False)
SEPARATE = AttentionProjections(("query", "key", "value"), eager.separate)

FAMILIES: dict[str, Family] = {
    "bert": _bert(),
    "ernie": _bert(),
    "roberta": _bert(),
    "xlm-roberta": _bert(),
    "camembert": _bert(),
    "data2vec-text": _bert(),
    "xmod": _bert(),
    "roberta-prelayernorm": _bert(),
    "electra": _bert(),
    "distilbert": Family(layers="transformer.layer", attention="attention", intermediate_size="hidden_dim"),
    "albert": Family(layers=_albert_layers, attention="attention", resizable=False, uncuttable=_albert_groups),
    "mobilebert": _bert(width=lambda config: config.true_hidden_size, resizable=False),
    "modernbert": Family(layers="layers", attention="attn", resizable=False, first_stays=True),
    "nomic_bert": ROTARY,
    "gte": ROTARY,
    "jina_embeddings_v3": ROTARY,
    "eurobert": GROUPED,
    "esm": _bert(resizable=False, by_depth=("contact_head",)),
    "mpnet": Family(
        layers="encoder.layer",
        attention="attention.attn",
        eager=AttentionProjections(("q", "k", "v"), eager.position_bias),
        positional=lambda config: True,
    ),
    "deberta": _bert(
        eager=AttentionProjections(("in_proj",), eager.deberta, bias="disentangled_att_bias"),
        positional=lambda config: config.relative_attention,
        hides_scores=lambda config: "mixes its heads' scores" if getattr(config, "talking_head", False) else None,
        resizable=False,
    ),
    "deberta-v2": _bert(
        eager=AttentionProjections(
            ("query_proj", "key_proj", "value_proj"), eager.deberta_v2, bias="disentangled_attention_bias"
        ),
        outputs=_after_convolution,
        positional=lambda config: config.relative_attention,
        resizable=False,
    ),
    "roformer": _bert(eager=AttentionProjections(("query", "key", "value"), eager.roformer)),
    "rembert": _bert(eager=SEPARATE),
    "megatron-bert": _bert(eager=SEPARATE),
    "convbert": _bert(
        eager=SEPARATE,
        heads=lambda config: max(config.num_attention_heads // config.head_ratio, 1),
        width=lambda config: config.hidden_size // 2,
    ),
    "funnel": Family(
        layers=_funnel_layers,
        attention="attention",
        intermediate_size="d_inner",
        eager=AttentionProjections(("q_head", "k_head", "v_head"), eager.funnel, dropout="attention_dropout"),
        heads=lambda config: config.n_head,
        width=lambda config: config.n_head * config.d_head,
        positional=lambda config: True,
        hides_scores=lambda config: "pools tokens between its blocks",
        resizable=False,
        uncuttable=lambda config: "its layers form blocks between which tokens are pooled",
    ),
}

REFUSED: dict[str, str] = {
    "longformer": "its attention holds a band of scores and global tokens apart, so there is no (L, L) map",
    "big_bird": "it swaps its attention modules for others when a batch is short, so hooks on them fall silent",
    "nystromformer": "its attention is a product of three landmark matrices, so there is no (L, L) map",
    "squeezebert": "its layers are called by their forward methods, so hooks on them never fire",
}


@dataclass(frozen=True)
class Encoder:
    """The parts of one model that capture and layer copying touch; entry n - 1 belongs to layer n.

    A module appears in a list once for every layer that it computes. outputs[n - 1] returns what leaves layer n.
    """

    layers: list[nn.Module]
    attention: list[nn.Module]
    outputs: list[nn.Module]
    eager: AttentionProjections | None


def family_of(config: PreTrainedConfig) -> Family:
    """Return the family of a config. Raises UserError when its `model_type` has no row or is refused."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        _refuse(config.model_type)
        raise UserError(
            f"kdfeatures has no row for model type '{config.model_type}'"
            f"{nearest(config.model_type, FAMILIES)}. It knows {', '.join(FAMILIES)}; "
            "add a row to FAMILIES in kdfeatures/capture/families.py."
        )
    return family


def encoder_of(model: PreTrainedModel) -> Encoder:
    """Locate layers and attention modules of a (headed or bare) model.

    A model type without a row is searched (kdfeatures.capture.discovery), with a warning that says what was found.
    Raises UserError for families that cannot be captured, for decoders, and when the search finds nothing.
    """
    base: Any = model.base_model  # a transformers model, though declared as any module
    model_type = model.config.model_type
    _refuse(model_type)
    family = FAMILIES.get(model_type)
    if family is None:
        family = Family(*discover(base, FAMILIES))
    if callable(family.layers):
        layers = family.layers(base)
    else:
        layers = list(base.get_submodule(family.layers))
    attention = [layer.get_submodule(family.attention) for layer in layers]
    if getattr(model.config, "is_decoder", False) or getattr(attention[0], "is_causal", False):
        raise UserError(
            f"kdfeatures captures encoders, but this '{model_type}' attends to earlier tokens only (a decoder); "
            "load it with is_decoder=False."
        )
    return Encoder(layers, attention, family.outputs(base, layers), family.eager)


def _refuse(model_type: str) -> None:
    if model_type in REFUSED:
        raise UserError(f"kdfeatures cannot capture from '{model_type}': {REFUSED[model_type]}.")
