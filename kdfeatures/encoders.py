"""One row per model family: where its layers and attention modules are, and how its config names sizes.

To add a family, add a row to FAMILIES; nothing else dispatches on a model's name.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from kdfeatures.errors import UserError, nearest


@dataclass(frozen=True)
class Family:
    """Dotted paths: `layers` below the base model, `attention` (the module that holds q, k, v) below a layer."""

    layers: str
    attention: str
    intermediate_size: str = "intermediate_size"  # the config's name for the feed-forward width


FAMILIES: dict[str, Family] = {
    "bert": Family(layers="encoder.layer", attention="attention.self"),
    "roberta": Family(layers="encoder.layer", attention="attention.self"),
    "electra": Family(layers="encoder.layer", attention="attention.self"),
    "distilbert": Family(layers="transformer.layer", attention="attention", intermediate_size="hidden_dim"),
}


@dataclass(frozen=True)
class Encoder:
    """The parts of one model that capture and layer copying touch."""

    layers: list[nn.Module]
    attention: list[nn.Module]


def family_of(config: PreTrainedConfig) -> Family:
    """Return the family of a config. Raises UserError when its `model_type` has no row."""
    family = FAMILIES.get(config.model_type)
    if family is None:
        raise UserError(
            f"kdfeatures has no row for model type '{config.model_type}'"
            f"{nearest(config.model_type, FAMILIES)}. It knows {', '.join(FAMILIES)}; "
            "add a row to FAMILIES in kdfeatures/encoders.py."
        )
    return family


def encoder_of(model: PreTrainedModel) -> Encoder:
    """Locate layers and attention modules of a (headed or bare) model. Raises UserError for an unknown family."""
    family = family_of(model.config)
    layers = list(model.base_model.get_submodule(family.layers))
    return Encoder(layers=layers, attention=[layer.get_submodule(family.attention) for layer in layers])
