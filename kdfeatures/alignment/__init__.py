"""Student and teacher brought to one width and one number of heads: learned, PCA and orthonormal maps.

Sees pairs of layers and tensors; imports mapping, masking and features, nothing that trains or reads data.
"""

from kdfeatures.alignment.heads import HeadAlignment, HeadSizes, MeanHeads, RelationHeads, SameHeads
from kdfeatures.alignment.hungarian import HEAD_MEASURES, HeadMatches, HungarianHeads
from kdfeatures.alignment.learned_heads import LearnedHeads
from kdfeatures.alignment.pca import PcaProjections
from kdfeatures.alignment.per_teacher import ProjectionsByTeacher, projections_for
from kdfeatures.alignment.projections import LinearProjections, NoProjections, OrthonormalProjections
from kdfeatures.alignment.resolve import HEADS, PROJECTIONS
from kdfeatures.alignment.task_aware import TaskAwareProjections

__all__ = [
    "HEADS",
    "HEAD_MEASURES",
    "PROJECTIONS",
    "HeadAlignment",
    "HeadMatches",
    "HeadSizes",
    "HungarianHeads",
    "LearnedHeads",
    "LinearProjections",
    "MeanHeads",
    "NoProjections",
    "OrthonormalProjections",
    "PcaProjections",
    "ProjectionsByTeacher",
    "RelationHeads",
    "SameHeads",
    "TaskAwareProjections",
    "projections_for",
]
