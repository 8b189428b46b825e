"""A small distillation by maps that move."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from support.tiny import tiny_classifier
from torch import nn

from kdfeatures.alignment.projections import LinearProjections
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.losses import HiddenMSE
from kdfeatures.mapping import AlpMap, DynamicLayerMap, EmdMap, LearnedMap, RandomMap

RULES = ("random", "attention", "emd", "learned")


def moving_map(rule: str, students: int = 2, teachers: int = 3, *, embeddings: bool = True, **own) -> DynamicLayerMap:
    """Return the map of a name, with options of its own if given."""
    made = {
        "random": (RandomMap, {"seed": 3, "every": None}),
        "attention": (AlpMap, {"pool": "mean", "temperature": 4.0}),
        "emd": (EmdMap, {"update": True}),
        "learned": (LearnedMap, {"learning_rate": 0.05}),
    }
    maker, options = made[rule]
    return maker(students, teachers, embeddings=embeddings, **(options | own))


def moving_distiller(
    moving: DynamicLayerMap | Mapping[str, DynamicLayerMap],
    loss: nn.Module | None = None,
    *,
    seed: int = 0,
    pair_reduction: str = "sum",
    teachers: int = 3,
) -> Distiller:
    """Return a 2 x 16 student of a 3 x 24 teacher, 4 heads each; a term on attention has no embeddings.

    moving: the map of its only term, "layers", or of several, {name of the term: its map}.
    """
    torch.manual_seed(seed)
    teacher = tiny_classifier(layers=teachers, width=24, heads=4)
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    student = tiny_classifier(layers=2, width=16, heads=4, **rates)
    loss = HiddenMSE() if loss is None else loss
    terms = {}
    for name, own in ({"layers": moving} if isinstance(moving, DynamicLayerMap) else moving).items():
        pairs = tuple(pair for pair in own.pairs if loss.inputs != "attention" or pair.student > 0)
        terms[name] = BoundTerm(loss, 1.0, pairs, pair_reduction, map=own)
    pairs = [pair for term in terms.values() for pair in term.pairs]
    projections = LinearProjections(pairs, 16, 24, shared=False, bias=True, always=False)
    return Distiller(student, teacher, BoundObjective(terms, projections), [0, 1])


def distiller_of_every_map(teachers: int = 3) -> Distiller:
    """Return the distiller with a term for each rule, of the rule's name. teachers: layers."""
    return moving_distiller({rule: moving_map(rule, teachers=teachers) for rule in RULES}, teachers=teachers)
