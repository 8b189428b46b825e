"""Student and teacher brought to one width and one number of heads: learned, PCA and orthonormal maps.

Sees pairs of layers and tensors; imports mapping, losses and capture, nothing that trains or reads data.
"""

from kdfeatures.alignment.heads import (
    HeadAlignment,
    HeadSizes,
    HungarianHeads,
    LearnedHeads,
    MeanHeads,
    RelationHeads,
    SameHeads,
)
from kdfeatures.alignment.projections import LinearProjections, OrthonormalProjections, PcaProjections

__all__ = [
    "HeadAlignment",
    "HeadSizes",
    "HungarianHeads",
    "LearnedHeads",
    "LinearProjections",
    "MeanHeads",
    "OrthonormalProjections",
    "PcaProjections",
    "RelationHeads",
    "SameHeads",
]
