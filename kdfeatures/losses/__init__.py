"""Losses: tensors and a mask in, a scalar out. They never see layers, models or configs.

Each is an nn.Module whose class attribute `takes` says what it is called with:

    "logits"     forward(student, teacher)          both (B, C)
    "labels"     forward(student, labels)           (B, C) and (B,)
    "hidden"     forward(student, teacher, mask)    both (B, L, D), after projection; mask (B, L) or None
    "attention"  forward(student, teacher, mask)    both AttentionStates; mask (B, L) or None

All compute in float32 or wider and average as `kdfeatures.masking` describes.
"""

from kdfeatures.losses.attention import AttentionKL, AttentionLoss, AttentionScoreMSE
from kdfeatures.losses.hidden import HiddenCosine, HiddenMSE, NormalizedClsMSE
from kdfeatures.losses.labels import HardLabel
from kdfeatures.losses.logits import LogitKD, LogitMSE, PseudoLabel, SoftCrossEntropy
from kdfeatures.losses.relation import RelationKL, ValueRelation

__all__ = [
    "AttentionKL",
    "AttentionLoss",
    "AttentionScoreMSE",
    "HardLabel",
    "HiddenCosine",
    "HiddenMSE",
    "LogitKD",
    "LogitMSE",
    "NormalizedClsMSE",
    "PseudoLabel",
    "RelationKL",
    "SoftCrossEntropy",
    "ValueRelation",
]
