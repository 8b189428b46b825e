"""A small distillation by maps that move."""

from __future__ import annotations

import torch
from tiny import tiny_classifier
from torch import nn

from kdfeatures.distiller import Distiller
from kdfeatures.losses import HiddenMSE
from kdfeatures.maps import AttentionMap, LearnedMap, MovingMap, RandomMap, TransportMap
from kdfeatures.objective import Objective, Term
from kdfeatures.projection import LinearProjections

RULES = ("random", "attention", "emd", "learned")


def moving_map(rule: str, students: int = 2, teachers: int = 3, *, embeddings: bool = True, **own) -> MovingMap:
    """Return the map of a name, with options of its own if given."""
    made = {
        "random": (RandomMap, {"seed": 3, "every": None}),
        "attention": (AttentionMap, {"pool": "mean", "temperature": 4.0}),
        "emd": (TransportMap, {"update": True}),
        "learned": (LearnedMap, {"learning_rate": 0.05}),
    }
    maker, options = made[rule]
    return maker(students, teachers, embeddings=embeddings, **(options | own))


def moving_distiller(
    moving: MovingMap, loss: nn.Module | None = None, *, seed: int = 0, over_pairs: str = "sum"
) -> Distiller:
    """Return a 2 x 16 student of a 3 x 24 teacher, 4 heads each, with one term; on attention without embeddings."""
    torch.manual_seed(seed)
    teacher = tiny_classifier(layers=3, width=24, heads=4)
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    student = tiny_classifier(layers=2, width=16, heads=4, **rates)
    loss = HiddenMSE() if loss is None else loss
    pairs = tuple(pair for pair in moving.pairs if loss.takes != "attention" or pair.student > 0)
    projections = LinearProjections(pairs, 16, 24, shared=False, bias=True, always=False)
    term = Term(loss, 1.0, pairs, over_pairs, map=moving)
    return Distiller(student, teacher, Objective({"layers": term}, projections), [0, 1])
