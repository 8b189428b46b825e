"""Which attention head of one model is like which head of another: similarity over real text, and matching."""

from kdfeatures.heads.comparison import HeadComparison, compare_heads
from kdfeatures.heads.matching import HeadMatching, match_heads
from kdfeatures.heads.similarity import MEASURES, HeadSimilarity, shuffled

__all__ = [
    "MEASURES",
    "HeadComparison",
    "HeadMatching",
    "HeadSimilarity",
    "compare_heads",
    "match_heads",
    "shuffled",
]
