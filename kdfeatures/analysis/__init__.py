"""Which layers and heads of two models are alike: similarity over real text, matching, and the page that shows it.

Imports capture and models; knows no training and no config.
"""

from kdfeatures.analysis.compare_heads import HeadComparison, compare_heads
from kdfeatures.analysis.head_matching import HeadMatching, match_heads
from kdfeatures.analysis.head_similarity import MEASURES, HeadSimilarity, shuffled

__all__ = [
    "MEASURES",
    "HeadComparison",
    "HeadMatching",
    "HeadSimilarity",
    "compare_heads",
    "match_heads",
    "shuffled",
]
