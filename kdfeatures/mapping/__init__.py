"""Layer maps: which student layer learns from which teacher layer. Numbers in, pairs out; imports errors only.

Fixed maps are rules, functions of two numbers of layers: uniform, last, first, reverse, all_to_one, skip, final,
middle, explicit. The others move while the student trains, or are measured before it does:

    map         in a step, a student layer learns from                             for terms on
    random      its layer in a sorted random subset, drawn anew every epoch        hidden states, attention, flow
    attention   a mix of all teacher layers, weighted by similarity                hidden states
    emd         all teacher layers, by the flow of an optimal transport plan       hidden states, attention
    learned     all teacher layers, by weights that are trained with the student   hidden states, attention
    cka         its layer in the most similar monotone map, measured once          hidden states, attention, flow
"""

from kdfeatures.mapping.alp import AlpMap
from kdfeatures.mapping.cka import CkaMap
from kdfeatures.mapping.dynamic import DynamicLayerMap
from kdfeatures.mapping.emd import EmdMap
from kdfeatures.mapping.learned import LearnedMap
from kdfeatures.mapping.pairs import DEFAULT_TEACHER, CandidatePair, LayerPair, check_pairs
from kdfeatures.mapping.random import RandomMap
from kdfeatures.mapping.resolve import LAYER_MAPS, LayerMap, layer_map
from kdfeatures.mapping.rules import (
    all_to_one,
    explicit,
    final,
    first,
    last,
    middle,
    reverse,
    skip,
    uniform,
)

__all__ = [
    "DEFAULT_TEACHER",
    "LAYER_MAPS",
    "AlpMap",
    "CandidatePair",
    "CkaMap",
    "LearnedMap",
    "DynamicLayerMap",
    "LayerMap",
    "LayerPair",
    "RandomMap",
    "EmdMap",
    "all_to_one",
    "check_pairs",
    "explicit",
    "final",
    "first",
    "last",
    "layer_map",
    "middle",
    "reverse",
    "skip",
    "uniform",
]
