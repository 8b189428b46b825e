"""Which attention head of one model is like which head of another: similarity over real text, and matching."""

from kdfeatures.heads.matching import HeadMatching, match_heads
from kdfeatures.heads.similarity import MEASURES, HeadSimilarity, shuffled

__all__ = ["MEASURES", "HeadMatching", "HeadSimilarity", "match_heads", "shuffled"]
