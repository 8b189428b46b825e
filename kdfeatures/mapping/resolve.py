"""Layer maps as users write them: a name, a list of pairs, or a function of the two depths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from kdfeatures.errors import ConfigError, nearest
from kdfeatures.mapping.alp import AlpMap
from kdfeatures.mapping.cka import CkaMap
from kdfeatures.mapping.dynamic import DynamicLayerMap
from kdfeatures.mapping.emd import EmdMap
from kdfeatures.mapping.learned import LearnedMap
from kdfeatures.mapping.pairs import LayerPair, check_pairs
from kdfeatures.mapping.random import RandomMap
from kdfeatures.mapping.rules import RULES, explicit

LayerMap = Callable[[int, int], "Sequence[tuple[int, int]] | DynamicLayerMap"]
LAYER_MAPS: dict[str, LayerMap] = {
    **RULES,
    **{map_class.rule: map_class for map_class in (RandomMap, AlpMap, EmdMap, LearnedMap, CkaMap)},
}


def layer_map(layers: str | Sequence[Sequence[int]] | LayerMap) -> LayerMap:
    """Return the function of (student layers, teacher layers) that `layers` stands for.

    Args:
        layers: a name in LAYER_MAPS; pairs (student layer, teacher layer), counted from 1, 0 the embeddings; or such
            a function itself, which returns pairs or a DynamicLayerMap: functools.partial(RandomMap, seed=1).

    Raises ConfigError for an unknown name.

    >>> layer_map("last")(2, 6)
    (LayerPair(student=0, teacher=0), LayerPair(student=1, teacher=5), LayerPair(student=2, teacher=6))
    >>> layer_map([(1, 3)])(2, 6)
    (LayerPair(student=1, teacher=3),)
    """
    if isinstance(layers, str):
        if layers not in LAYER_MAPS:
            raise ConfigError(
                f"is no layer map{nearest(layers, LAYER_MAPS)}",
                argument="layers",
                value=layers,
                hint=f"choose from {', '.join(LAYER_MAPS)}, or give a list of pairs or a function",
            )
        return LAYER_MAPS[layers]
    return layers if callable(layers) else partial(explicit, pairs=layers)


def resolve_map(
    layers: str | Sequence[Sequence[int]] | LayerMap, student_layers: int, teacher_layers: int
) -> tuple[tuple[LayerPair, ...], DynamicLayerMap | None]:
    """Return the pairs for two depths, checked, and the dynamic map whose candidates they are; None for a fixed one.

    Raises ConfigError for a layer that does not exist, and for a map that does not fit these depths.
    """
    result = layer_map(layers)(student_layers, teacher_layers)
    if isinstance(result, DynamicLayerMap):
        return result.pairs, result
    pairs = tuple(pair if isinstance(pair, LayerPair) else LayerPair(*pair) for pair in result)
    check_pairs(pairs, student_layers, teacher_layers)
    return pairs, None
