"""A case for each loss that compares student and teacher: how to call it, and the oracle to compare with.

States are lists: [hidden (B, L, D)], twice that for a flow, [query, key, value (B, H, L, d)] or [logits (B, C)].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from support import hidden_references as of_hidden
from support import logit_references as of_logits
from support import references
from torch import Tensor, nn

from kdfeatures.features import AttentionStates
from kdfeatures.losses import (
    DIST,
    AttentionKL,
    AttentionScoreMSE,
    BatchSimilarity,
    BinaryKD,
    DecoupledKD,
    EmbeddingCosine,
    EmbeddingMSE,
    EnergyMap,
    FeatureGramMSE,
    FlowCosine,
    FlowMSE,
    HiddenCosine,
    HiddenMSE,
    JensenShannon,
    LayerNormMSE,
    LinearCKA,
    LogitKD,
    LogitMSE,
    NormalizedClsMSE,
    ProcrustesDistance,
    RelationKL,
    ReverseKL,
    RKDAngle,
    RKDDistance,
    SkewKL,
    SkewReverseKL,
    SoftCrossEntropy,
    TokenAngle,
    TokenGramMSE,
    TokenSimilarityKL,
    ValueRelation,
)

SCALE_S, SCALE_T = 0.37, 0.21  # not 1/sqrt(d): the loss must take the model's own


@dataclass(frozen=True)
class Case:
    name: str
    loss: nn.Module
    oracle: Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor]
    student: tuple[int, ...]  # (D,), (H, d) or (C,)
    teacher: tuple[int, ...]

    def states(self, side: str, batch: int, length: int, seed: int) -> list[Tensor]:
        """Return random float64 states of the "student" or the "teacher"."""
        random = torch.Generator().manual_seed(seed)
        size = getattr(self, side)
        if self.loss.inputs in ("logits", "logits, labels"):
            shapes = [(batch, *size)]
        elif self.loss.inputs in ("hidden", "flow"):
            shapes = [(batch, length, *size)] * (2 if self.loss.inputs == "flow" else 1)
        else:
            shapes = [(batch, size[0], length, size[1])] * 3
        return [torch.randn(shape, generator=random, dtype=torch.float64) for shape in shapes]

    def value(
        self,
        student: Sequence[Tensor],
        teacher: Sequence[Tensor],
        mask: Tensor | None,
        scale_t: float = SCALE_T,
    ) -> Tensor:
        if self.loss.inputs == "logits":
            return self.loss(student[0], teacher[0])
        if self.loss.inputs == "logits, labels":
            return self.loss(student[0], teacher[0], labels(teacher[0]))
        if self.loss.inputs == "hidden":
            return self.loss(student[0], teacher[0], mask)
        if self.loss.inputs == "flow":
            return self.loss(student, teacher, mask)
        return self.loss(AttentionStates(*student, scale=SCALE_S), AttentionStates(*teacher, scale=scale_t), mask)

    def __str__(self) -> str:
        return self.name


def labels(teacher: Tensor) -> Tensor:
    """Return class ids that follow from the row alone, so that they stay the same in another batch."""
    return torch.where(teacher[:, 0] > 1, -100, teacher.argmin(1))


def per_vector(oracle: Callable, *settings) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor]:
    return lambda s, t, _: oracle(*s, *t, *settings)


def per_token(oracle: Callable, *settings) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor]:
    return lambda s, t, mask: oracle(*s, *t, mask, *settings)


def relations(*operands: int, heads: int) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], Tensor]:
    return lambda s, t, mask: sum(references.relation_kl(s[i], t[i], heads, mask) for i in operands)


LOGITS = [
    Case("logit kd", LogitKD(temperature=2.5), lambda s, t, _: references.logit_kd(*s, *t, 2.5), (5,), (5,)),
    Case(
        "soft cross-entropy",
        SoftCrossEntropy(temperature=0.7),
        lambda s, t, _: references.soft_cross_entropy(*s, *t, 0.7),
        (3,),
        (3,),
    ),
    Case("logit mse", LogitMSE(), lambda s, t, _: references.logit_mse(*s, *t), (4,), (4,)),
    Case("reverse kl", ReverseKL(temperature=1.7), per_vector(of_logits.reverse_kl, 1.7), (4,), (4,)),
    Case(
        "jensen-shannon",
        JensenShannon(temperature=1.7, beta=0.7),
        per_vector(of_logits.jensen_shannon, 1.7, 0.7),
        (4,),
        (4,),
    ),
    Case("skew kl", SkewKL(temperature=0.8, skew=0.1), per_vector(of_logits.skew_kl, 0.8, 0.1), (4,), (4,)),
    Case(
        "skew reverse kl",
        SkewReverseKL(temperature=0.8, skew=0.1),
        per_vector(of_logits.skew_reverse_kl, 0.8, 0.1),
        (4,),
        (4,),
    ),
    Case(
        "decoupled kd",
        DecoupledKD(temperature=1.7, target_weight=0.5, other_weight=3.0),
        lambda s, t, _: of_logits.decoupled_kd(*s, *t, labels(*t), 1.7, 0.5, 3.0),
        (4,),
        (4,),
    ),
    Case("binary kd", BinaryKD(temperature=1.7), per_vector(of_logits.binary_kd, 1.7), (4,), (4,)),
    Case("binary kd of one logit", BinaryKD(temperature=0.6), per_vector(of_logits.binary_kd, 0.6), (1,), (1,)),
    Case("embedding cosine", EmbeddingCosine(), per_vector(of_logits.embedding_cosine), (5,), (5,)),
    Case("embedding mse", EmbeddingMSE(), lambda s, t, _: references.logit_mse(*s, *t), (5,), (5,)),
    Case("score mse of a regression", LogitMSE(), lambda s, t, _: references.logit_mse(*s, *t), (1,), (1,)),
]
LOGITS_BATCHWISE = [  # these relate the outputs of a batch's examples to each other
    Case("dist", DIST(temperature=1.7, inter_weight=0.5), per_vector(of_logits.dist, 1.7, 0.5, 1.0), (4,), (4,)),
    Case("dist of two classes", DIST(), per_vector(of_logits.dist, 1.0, 1.0, 1.0), (2,), (2,)),
    Case("dist of a regression", DIST(intra_weight=2.0), per_vector(of_logits.dist_of_scores, 2.0), (1,), (1,)),
]
UNKNOWN_LABEL = [
    Case("hidden mse", HiddenMSE(), per_token(references.hidden_mse), (11,), (11,)),
    Case("hidden cosine", HiddenCosine(), per_token(references.hidden_cosine), (11,), (11,)),
    Case("cls", NormalizedClsMSE(), per_token(references.normalized_cls_mse), (11,), (11,)),
    Case("layer norm", LayerNormMSE(), per_token(of_hidden.layer_norm_mse), (11,), (11,)),
    Case("energy", EnergyMap(), per_token(of_hidden.energy_map), (5,), (11,)),
    Case("token gram, wide", TokenGramMSE(), per_token(of_hidden.token_gram_mse), (5,), (11,)),
    Case("token gram, narrow", TokenGramMSE(), per_token(of_hidden.token_gram_mse), (4,), (2,)),
    Case("token similarity", TokenSimilarityKL(), per_token(of_hidden.token_similarity_kl), (5,), (11,)),
    Case("token angle", TokenAngle(), per_token(of_hidden.token_angle, 21), (5,), (11,)),
    Case("token angle, narrow", TokenAngle(window=3), per_token(of_hidden.token_angle, 3), (5,), (11,)),
    Case("feature gram, wide", FeatureGramMSE(), per_token(of_hidden.feature_gram_mse), (11,), (11,)),
    Case("feature gram, narrow", FeatureGramMSE(), per_token(of_hidden.feature_gram_mse), (3,), (3,)),
]
FLOW = [
    Case("flow cosine", FlowCosine(), of_hidden.flow_cosine, (5,), (11,)),
    Case("flow, wide", FlowMSE(), of_hidden.flow_mse, (11,), (11,)),
    Case("flow, narrow", FlowMSE(), of_hidden.flow_mse, (3,), (3,)),
]
BATCHWISE = [  # these relate the examples of a batch to each other
    Case("rkd distance, cls", RKDDistance(pool="cls"), per_token(of_hidden.rkd_distance, "cls"), (5,), (11,)),
    Case("rkd distance, mean", RKDDistance(pool="mean"), per_token(of_hidden.rkd_distance, "mean"), (5,), (11,)),
    Case("rkd angle, cls", RKDAngle(pool="cls"), per_token(of_hidden.rkd_angle, "cls"), (5,), (11,)),
    Case("rkd angle, mean", RKDAngle(pool="mean"), per_token(of_hidden.rkd_angle, "mean"), (5,), (11,)),
    Case("similarity, cls", BatchSimilarity(pool="cls"), per_token(of_hidden.similarity, "cls"), (5,), (11,)),
    Case("similarity, mean", BatchSimilarity(pool="mean"), per_token(of_hidden.similarity, "mean"), (5,), (11,)),
    Case("cka, wide", LinearCKA(), per_token(of_hidden.linear_cka), (5,), (50,)),
    Case("cka, narrow", LinearCKA(), per_token(of_hidden.linear_cka), (5,), (3,)),
    Case("procrustes, wide", ProcrustesDistance(), per_token(of_hidden.procrustes), (5,), (11,)),
    Case("procrustes, narrow", ProcrustesDistance(), per_token(of_hidden.procrustes), (5,), (3,)),
]
ATTENTION = [
    Case(
        "attention scores",
        AttentionScoreMSE(),
        lambda s, t, mask: references.attention_score_mse(s[0], s[1], SCALE_S, t[0], t[1], SCALE_T, mask),
        (4, 5),
        (4, 3),
    ),
    Case(
        "attention kl",
        AttentionKL(),
        lambda s, t, mask: references.attention_kl(s[0], s[1], SCALE_S, t[0], t[1], SCALE_T, mask),
        (4, 5),
        (4, 3),
    ),
    Case("value relation", ValueRelation(), relations(2, heads=4), (4, 5), (4, 3)),
    Case(
        "relations, own heads",
        RelationKL(relations=["query", "value"]),
        relations(0, 2, heads=3),
        (3, 2),
        (3, 5),
    ),
    Case("relations, 12 heads", RelationKL(relation_heads=12), relations(0, 1, 2, heads=12), (6, 4), (4, 9)),
    Case("relations, 1 head", RelationKL(relations=["key"], relation_heads=1), relations(1, heads=1), (2, 3), (5, 2)),
]
MASKED = UNKNOWN_LABEL + FLOW + BATCHWISE + ATTENTION
COMPARING = LOGITS + LOGITS_BATCHWISE + MASKED
