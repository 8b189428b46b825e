"""Losses: tensors and a mask in, a scalar out. They never see layers, models or configs.

Each is an nn.Module whose class attribute `inputs` says what it is called with:

    "logits"          forward(student, teacher)          both (B, C)
    "labels"          forward(student, labels)           (B, C) and (B,)
    "logits, labels"  forward(student, teacher, labels)  (B, C) twice and (B,)
    "hidden"          forward(student, teacher, mask)    both (B, L, D), after projection; mask (B, L) or None
    "flow"            forward(student, teacher, mask)    two (B, L, D) each: of a mapped pair, and of the next one
    "attention"       forward(student, teacher, mask)    both AttentionStates; mask (B, L) or None

Of a model that gives logits for tokens, B are the tokens that are compared, of all texts of the batch.
A "hidden" loss whose class attribute `needs_projection` is false gets the states before projection, (B, L, D_s) and
(B, L, D_t), and no projection is made for it. A mask may be left out: all tokens are then real.
Every loss can be made without arguments, which then have the values usual in the field. `as_loss` makes one of a plain
function.

Those on outputs may say what a row of these must mean, `outputs` (kdfeatures.losses.base); one that does not takes any.
Those that take the teacher's logits say at which temperature they read them as a distribution, `target_temperature`,
None for those that compare them as they are. Several teachers are averaged accordingly (kdfeatures.losses.ensemble).

One on outputs that is a mean over rows, each compared by itself, says so: `rowwise = True`, and where the mean is over
some of them, which: `counted(labels)`. Over a vocabulary it is then computed a few rows at a time
(kdfeatures.losses.vocabulary).

What `kdfeatures explain` tells of a loss it says itself: `reduction`, how it averages; `positions`, which ones count;
and where it has a temperature, `temperature_factor`, what the divergence is multiplied by.

All compute in float32 or wider and average as `kdfeatures.masking` describes.
"""

from kdfeatures.losses.attention import AttentionKL, AttentionLoss, AttentionScoreMSE
from kdfeatures.losses.attention_transfer import EnergyMap
from kdfeatures.losses.base import FunctionLoss, Loss, as_loss
from kdfeatures.losses.binary_kd import BinaryKD
from kdfeatures.losses.cka import LinearCKA
from kdfeatures.losses.contextual import FlowCosine, TokenAngle, TokenSimilarityKL
from kdfeatures.losses.dist import DIST
from kdfeatures.losses.divergences import JensenShannon, ReverseKL, SkewKL, SkewReverseKL
from kdfeatures.losses.dkd import DecoupledKD
from kdfeatures.losses.embedding import (
    EmbeddingCosine,
    EmbeddingLoss,
    EmbeddingMSE,
    EmbeddingRKDAngle,
    EmbeddingRKDDistance,
    EmbeddingSimilarity,
)
from kdfeatures.losses.fsp import FlowMSE
from kdfeatures.losses.gram import FeatureGramMSE, TokenGramMSE
from kdfeatures.losses.hidden import HiddenCosine, HiddenLoss, HiddenMSE, LayerNormMSE, NormalizedClsMSE
from kdfeatures.losses.labels import HardLabel, MaskedLanguageModel
from kdfeatures.losses.logits import LogitKD, LogitMSE, PseudoLabel, SoftCrossEntropy
from kdfeatures.losses.procrustes import ProcrustesDistance
from kdfeatures.losses.relation import RelationKL, ValueRelation
from kdfeatures.losses.rkd import RKDAngle, RKDDistance
from kdfeatures.losses.similarity import BatchSimilarity

__all__ = [
    "AttentionKL",
    "AttentionLoss",
    "AttentionScoreMSE",
    "BatchSimilarity",
    "BinaryKD",
    "DIST",
    "DecoupledKD",
    "EmbeddingCosine",
    "EmbeddingLoss",
    "EmbeddingMSE",
    "EmbeddingRKDAngle",
    "EmbeddingRKDDistance",
    "EmbeddingSimilarity",
    "EnergyMap",
    "FeatureGramMSE",
    "FlowCosine",
    "FlowMSE",
    "FunctionLoss",
    "HardLabel",
    "HiddenCosine",
    "HiddenLoss",
    "HiddenMSE",
    "JensenShannon",
    "LayerNormMSE",
    "LinearCKA",
    "LogitKD",
    "LogitMSE",
    "Loss",
    "MaskedLanguageModel",
    "NormalizedClsMSE",
    "ProcrustesDistance",
    "PseudoLabel",
    "RKDAngle",
    "RKDDistance",
    "RelationKL",
    "ReverseKL",
    "SkewKL",
    "SkewReverseKL",
    "SoftCrossEntropy",
    "TokenAngle",
    "TokenGramMSE",
    "TokenSimilarityKL",
    "ValueRelation",
    "as_loss",
]
