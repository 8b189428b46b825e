"""How far a student's layers on mixed texts lie from those on the texts themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from kdfeatures.alignment.projections import NoProjections
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.teacher_outputs import BatchOutputs
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.features import AttentionStates, Features
from kdfeatures.mapping.pairs import DEFAULT_TEACHER, LayerPair


def consistency(
    objective: BoundObjective, mixed: Features, alone: Features, share: float, mask: Tensor | None
) -> Tensor:
    """Return what the formula of Mixup has within its sum, with the terms' present weights; a scalar.

    mixed: what the student gave for the mixed texts, with its graph. alone: for the texts as they are, without one.
    mask: (B, L), True for the tokens of the texts alone.
    """
    terms = {name: _with_itself(term) for name, term in objective.terms.items() if term.pairs}
    itself = BoundObjective(terms, NoProjections())
    itself.weights = {name: objective.weights[name] for name in terms}

    def distance(target: Features, real: Tensor | None) -> Tensor:
        return itself(BatchOutputs(None, mixed), BatchOutputs(None, target), None, real)[0]

    of_texts = distance(alone, mask)
    of_partners = distance(_flipped(alone), None if mask is None else mask.flip(0))
    return share * of_texts + (1 - share) * of_partners


def _with_itself(term: BoundTerm) -> BoundTerm:
    """Return a term that compares each of its student layers with the same one: no map, no heads to bring together."""
    layers = sorted({pair.student for pair in term.active_pairs})
    pairs = tuple(LayerPair(layer, layer) for layer in layers)
    # its temperature is that of the loss, which the objective itself sets
    return replace(term, pairs=pairs, map=None, heads=None, teacher=DEFAULT_TEACHER, temperature=None)


def _flipped(features: Features) -> Features:
    """Return a batch's features with each text in the place of its partner."""
    flipped = Features()
    flipped.hidden.update({layer: states.flip(0) for layer, states in features.hidden.items()})
    flipped.attention.update({layer: _flipped_states(states) for layer, states in features.attention.items()})
    return flipped


def _flipped_states(states: AttentionStates) -> AttentionStates:
    tensors: Mapping[str, Any] = {
        name: value.flip(0) if len(value) > 1 else value  # what all texts share has one row
        for name, value in states._asdict().items()
        if isinstance(value, Tensor)
    }
    return states._replace(**tensors)
