"""The output layer of a classifier: its rows are classes, and belong to their names."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from kdfeatures.tasks.label_order import by_name, class_names, is_generic

logger = logging.getLogger(__name__)


def output_layer(model: PreTrainedModel, outputs: int) -> nn.Linear:
    """Return the last linear map outside the encoder with so many outputs."""
    encoder = {id(module) for module in model.base_model.modules()}
    return [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and id(module) not in encoder and module.out_features == outputs
    ][-1]


@torch.no_grad()
def select_outputs(model: PreTrainedModel, columns: Sequence[int], outputs: int) -> None:
    """Leave, in place, those of a classifier's `outputs` rows that `columns` names, in that order."""
    layer = output_layer(model, outputs)
    layer.weight = nn.Parameter(layer.weight[list(columns)].clone())
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias[list(columns)].clone())
    layer.out_features = len(columns)


@torch.no_grad()
def draw_outputs(model: PreTrainedModel, outputs: int) -> None:
    """Draw a classifier's output layer anew, in place, as transformers does."""
    layer = output_layer(model, outputs)
    nn.init.normal_(layer.weight, std=getattr(model.config, "initializer_range", 0.02))
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def class_rows(id2label: Mapping[Any, str], labels: Sequence[str], whose: str) -> list[int] | None:
    """Return which row of a head each of the task's labels is, by name; None where the head has no such classes.

    Names that say nothing (LABEL_0) are taken in their order where there are as many; the log says so when a head is
    not kept as it is.
    """
    names = class_names(id2label)
    if names == list(labels) or is_generic(names) and len(names) == len(labels):
        return list(range(len(names)))
    position = by_name(names, labels)
    if len(position) == len(labels):
        logger.info(
            f"The classes of {whose} are {', '.join(names)}: its head is brought into the task's order by name."
        )
        return [position[label] for label in labels]
    if not is_generic(names):
        logger.info(f"The classes of {whose} are {', '.join(names)} and not the task's: a new head is drawn.")
    return None
