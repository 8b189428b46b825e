"""kdfeatures as its commands run it."""

from __future__ import annotations

from benchmarks.job import RELATION_HEADS, TEMPERATURE, Job, Variant
from kdfeatures.distiller import Distiller
from kdfeatures.losses import AttentionScoreMSE, HiddenMSE, LogitKD, RelationKL
from kdfeatures.objective import Objective, Term


def features(job: Job) -> Variant:
    """Hidden states, attention scores and logits."""
    terms = {
        "logits": Term(LogitKD(temperature=TEMPERATURE), 1.0),
        "hidden": Term(HiddenMSE(), 1.0, job.hidden_pairs, "sum"),
        "attention": Term(AttentionScoreMSE(), 1.0, job.attention_pairs, "sum"),
    }
    projections = job.projections()
    distiller = Distiller(job.student(), job.teacher(), Objective(terms, projections), [0, 1]).train()
    return Variant(lambda batch: distiller(**batch).loss, distiller.student, list(projections.linear.values()))


def relations(job: Job) -> Variant:
    """MiniLMv2: relations of queries, keys and values of the last layers."""
    terms = {"relations": Term(RelationKL(heads=RELATION_HEADS), 1.0, (job.hidden_pairs[-1],), "sum")}
    distiller = Distiller(job.student(), job.teacher(), Objective(terms, job.projections()), [0, 1]).train()
    return Variant(lambda batch: distiller(**batch).loss, distiller.student)
