"""Which attention head of one model is like which head of another: similarity over real text, matching, alignment."""

from kdfeatures.heads.alignment import (
    HeadAlignment,
    HeadSizes,
    HungarianHeads,
    LearnedHeads,
    MeanHeads,
    RelationHeads,
    SameHeads,
)
from kdfeatures.heads.comparison import HeadComparison, compare_heads
from kdfeatures.heads.matching import HeadMatching, match_heads
from kdfeatures.heads.similarity import MEASURES, HeadSimilarity, shuffled

__all__ = [
    "MEASURES",
    "HeadAlignment",
    "HeadComparison",
    "HeadMatching",
    "HeadSimilarity",
    "HeadSizes",
    "HungarianHeads",
    "LearnedHeads",
    "MeanHeads",
    "RelationHeads",
    "SameHeads",
    "compare_heads",
    "match_heads",
    "shuffled",
]
