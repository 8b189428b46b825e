"""Which attention head of one model is like which head of another: similarity over real text, matching, alignment."""

from kdfeatures.heads.alignment import HeadAlignment, HungarianHeads, LearnedHeads, MeanHeads, RelationHeads, SameHeads
from kdfeatures.heads.matching import HeadMatching, match_heads
from kdfeatures.heads.similarity import MEASURES, HeadSimilarity, shuffled

__all__ = [
    "MEASURES",
    "HeadAlignment",
    "HeadMatching",
    "HeadSimilarity",
    "HungarianHeads",
    "LearnedHeads",
    "MeanHeads",
    "RelationHeads",
    "SameHeads",
    "match_heads",
    "shuffled",
]
