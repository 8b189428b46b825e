"""Layer maps that move while the student trains, and maps that are measured before it does.

    map         in a step, a student layer learns from                             for terms on
    random      its layer in a sorted random subset, drawn anew every epoch        hidden states, attention, flow
    attention   a mix of all teacher layers, weighted by similarity                hidden states
    emd         all teacher layers, by the flow of an optimal transport plan       hidden states, attention
    learned     all teacher layers, by weights that are trained with the student   hidden states, attention
    cka         its layer in the most similar monotone map, measured once          hidden states, attention, flow

The fixed maps are functions in kdfeatures.mapping.
"""

from kdfeatures.maps.attention import AttentionMap
from kdfeatures.maps.learned import LearnedMap
from kdfeatures.maps.measured import CkaMap
from kdfeatures.maps.moving import MovingMap
from kdfeatures.maps.random import RandomMap
from kdfeatures.maps.transport import TransportMap

__all__ = ["AttentionMap", "CkaMap", "LearnedMap", "MovingMap", "RandomMap", "TransportMap"]
