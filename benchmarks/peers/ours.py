"""kdfeatures as its commands run it."""

from __future__ import annotations

import copy

from transformers import PreTrainedModel

from benchmarks.job import RELATION_HEADS, TEMPERATURE, DistillationSetup, Variant
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.losses import AttentionScoreMSE, HiddenMSE, LogitKD, RelationKL
from kdfeatures.models.teachers import make_ready


def features(job: DistillationSetup) -> Variant:
    """Hidden states, attention scores and logits."""
    return _features(job, job.teacher())


def features_of_bfloat16(job: DistillationSetup) -> Variant:
    """The same with teacher.dtype=bfloat16."""
    return _features(job, make_ready(copy.deepcopy(job.teacher()), dtype="bfloat16", compiled=False))


def features_of_int8(job: DistillationSetup) -> Variant:
    """The same with teacher.dtype=int8."""
    return _features(job, make_ready(copy.deepcopy(job.teacher()), dtype="int8", compiled=False))


def _features(job: DistillationSetup, teacher: PreTrainedModel) -> Variant:
    terms = {
        "logits": BoundTerm(LogitKD(temperature=TEMPERATURE), 1.0),
        "hidden": BoundTerm(HiddenMSE(), 1.0, job.hidden_pairs, "sum"),
        "attention": BoundTerm(AttentionScoreMSE(), 1.0, job.attention_pairs, "sum"),
    }
    projections = job.projections()
    distiller = Distiller(job.student(), teacher, BoundObjective(terms, projections), [0, 1]).train()
    return Variant(lambda batch: distiller(**batch).loss, distiller.student, list(projections.linear.values()))


def relations(job: DistillationSetup) -> Variant:
    """MiniLMv2: relations of queries, keys and values of the last layers."""
    terms = {"relations": BoundTerm(RelationKL(relation_heads=RELATION_HEADS), 1.0, (job.hidden_pairs[-1],), "sum")}
    distiller = Distiller(job.student(), job.teacher(), BoundObjective(terms, job.projections()), [0, 1]).train()
    return Variant(lambda batch: distiller(**batch).loss, distiller.student)
