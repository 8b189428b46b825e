"""Compare student with teacher layer by layer, while the student's forward pass is still running.

As soon as a layer of the student is there, its pairs are compared, their gradients computed, and the teacher's layer is
dropped once no other pair needs it. What stays until the backward pass is one gradient per student tensor; teacher
features, projected states and other intermediates of a loss never lie beside all of the student's activations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from kdfeatures.alignment.per_teacher import projections_for
from kdfeatures.alignment.projections import LinearProjections
from kdfeatures.alignment.tokens.groups import TokenGroups
from kdfeatures.distillation.teacher_outputs import Source
from kdfeatures.distillation.term import ON_HIDDEN, BoundTerm
from kdfeatures.features import AttentionStates, Features
from kdfeatures.losses.hidden import HiddenMSE
from kdfeatures.losses.kernels.precomputed_gradients import with_precomputed_gradients
from kdfeatures.losses.kernels.projected_mse import can_project, projected_mse
from kdfeatures.mapping.pairs import LayerPair


class LayerwiseLosses:
    """A sink for the student's features (kdfeatures.features.FeatureSink) that compares them and keeps none.

    Args:
        terms: those on layers are compared; the others are passed over.
        projections: of the objective.
        teacher: the teacher's features of the same batch. Each is dropped here after its last comparison; who wants the
            memory back keeps no other reference.
        mask: (B, L), True for real tokens, or None.
        groups: by the name of a teacher of another tokenizer, what its tokens and the student's have in common; both
            are compared group by group.

    States of terms that take the flow between pairs of layers are kept until all are there, as are those of a map that
    weighs pairs by the costs of all; a map that weighs a student layer's candidates does so as soon as it is there.
    """

    def __init__(
        self,
        terms: Mapping[str, BoundTerm],
        projections: nn.Module,
        teacher: Features,
        mask: Tensor | None,
        groups: Mapping[str, TokenGroups] | None = None,
    ) -> None:
        self.projections, self.mask, self.groups = projections, mask, groups or {}
        self._hidden = _Awaited(_by_student(terms, *ON_HIDDEN), teacher.hidden)
        self._attention = _Awaited(_by_student(terms, "attention"), teacher.attention)
        self._values: dict[str, list[Tensor]] = {}
        self._unweighted: dict[str, list[tuple[Tensor, Callable[[Tensor], Tensor]]]] = {}
        self._flows: dict[tuple[str, LayerPair], tuple[Tensor, Tensor]] = {}

    def clear(self) -> None:
        """A new forward pass begins. One pass is compared; nothing is here before it."""

    def on_hidden(self, layer: int | str, states: Tensor) -> None:
        """Compare a layer's hidden states, (B, L, D_s), in all terms that take them."""
        for name, term, pairs in self._hidden.due(layer):
            own, teachers = states, self._hidden.taken(term, pairs)
            if (groups := self.groups.get(term.teacher)) is not None:
                own, teachers = groups.hidden(own, "student"), [groups.hidden(one, "teacher") for one in teachers]
            self._compare_hidden(name, term, pairs, own, teachers)

    def on_attention(self, layer: int, states: AttentionStates) -> None:
        """Compare a layer's attention in all terms that take it."""
        for name, term, pairs in self._attention.due(layer):
            own, teachers = states, self._attention.taken(term, pairs)
            if (groups := self.groups.get(term.teacher)) is not None:
                scores = term.loss.compares_scores
                own = groups.attention(own, "student", probabilities=scores)
                teachers = [groups.attention(one, "teacher", probabilities=scores) for one in teachers]
            self._compare_attention(name, term, pairs, own, teachers)

    def on_module(self, path: str, output: Any) -> None:
        """No term compares the outputs of submodules."""

    def replay(self, student: Features) -> None:
        """Compare features that were recorded before, in the order of their layers."""
        for layer in self._hidden.waiting:
            self.on_hidden(layer, student.hidden[layer])
        for layer in self._attention.waiting:
            self.on_attention(layer, student.attention[layer])

    def values_of(self, name: str, term: BoundTerm) -> list[Tensor]:
        """Return the values of a term's pairs, once all of the student's layers have been recorded."""
        if name in self._unweighted:
            costs, weighed = zip(*self._unweighted.pop(name), strict=True)
            assert term.map is not None
            weights = term.map.weights_from_costs(torch.stack(costs))
            return self._values.get(name, []) + [value(row) for value, row in zip(weighed, weights, strict=True)]
        if term.loss.inputs != "flow":
            return self._values[name]
        steps = ((self._flows[name, start], self._flows[name, end]) for start, end in pairwise(term.active_pairs))
        # the two student states of a pair and the next one, and the two teacher states
        return [term.loss(*zip(start, end, strict=True), self._mask(term)) for start, end in steps]

    def _mask(self, term: BoundTerm) -> Tensor | None:
        """Return which of the tokens that a term compares are real: those of the student, or common groups."""
        return self.groups[term.teacher].mask if term.teacher in self.groups else self.mask

    def _compare_hidden(
        self, name: str, term: BoundTerm, pairs: Sequence[LayerPair], student: Tensor, teachers: Sequence[Tensor]
    ) -> None:
        projections = projections_for(self.projections, term.teacher)
        if type(term.loss) is HiddenMSE and isinstance(projections, LinearProjections) and not _weighed(term, pairs[0]):
            linear = projections.of(pairs[0])
            if isinstance(linear, nn.Linear) and can_project(student, linear, teachers[0]):
                self._add(name, projected_mse(student, linear, teachers[0], self._mask(term)))
                return

        def projected(states: Tensor) -> tuple[Tensor, list[Tensor]]:
            if not term.loss.needs_projection:
                return states, list(teachers)
            student_states, first = projections(pairs[0], states, teachers[0])
            # candidates share the projection of their student layer, so an empty batch of it is enough for the others
            others = zip(pairs[1:], teachers[1:], strict=True)
            return student_states, [first, *(projections(pair, states[:0], teacher)[1] for pair, teacher in others)]

        if term.loss.inputs == "flow":
            states, (teacher,) = projected(student)
            self._flows[name, pairs[0]] = states, teacher
            return
        parameters = [*projections.parameters(), *(() if term.map is None else term.map.parameters())]
        if isinstance(term.loss, nn.Module):
            parameters += term.loss.parameters()

        def evaluated(compare: Callable[..., Tensor]) -> Tensor:
            return with_precomputed_gradients(lambda states: compare(*projected(states)), [student], parameters)

        self._compare(name, term, pairs, evaluated)

    def _compare_attention(
        self,
        name: str,
        term: BoundTerm,
        pairs: Sequence[LayerPair],
        student: AttentionStates,
        teachers: Sequence[AttentionStates],
    ) -> None:
        aligned: Sequence[Any] = teachers
        if term.heads is not None:
            # of each pair both sides: what brings their heads together may differ from pair to pair
            matched = zip(pairs, teachers, strict=True)
            mask = self._mask(term)
            aligned = [_Aligned(*term.heads(pair, student, teacher, mask)) for pair, teacher in matched]
        # these losses keep no more than gradients by themselves: kdfeatures.losses.kernels.pairwise
        self._compare(name, term, pairs, lambda compare: compare(student, aligned))

    def _compare(
        self,
        name: str,
        term: BoundTerm,
        pairs: Sequence[LayerPair],
        evaluated: Callable[[Callable[..., Tensor]], Tensor],
    ) -> None:
        """Add what a term gives for these pairs of one student layer.

        evaluated: calls a function of the student's states and those of each pair's teacher layer, in one space.
        """

        mask = self._mask(term)

        def loss(student: Any, teacher: Any) -> Tensor:
            operands = teacher if isinstance(teacher, _Aligned) else (student, teacher)
            return term.loss(*operands, mask)

        def losses(student: Any, teachers: Sequence[Any]) -> Tensor:
            return torch.stack([loss(student, teacher) for teacher in teachers])

        def weighed(weights: Tensor) -> Tensor:
            return evaluated(lambda *states: (weights * losses(*states)).sum())

        if not _weighed(term, pairs[0]):
            self._add(name, evaluated(lambda student, teachers: loss(student, teachers[0])))
            return
        assert term.map is not None
        dynamic = term.map
        if dynamic.granularity == "student layer":
            layer = pairs[0].student
            self._add(name, evaluated(lambda student, teachers: dynamic.compare(layer, student, teachers, loss, mask)))
        else:
            with torch.no_grad():
                costs = evaluated(losses)
            self._unweighted.setdefault(name, []).append((costs, weighed))

    def _add(self, name: str, value: Tensor) -> None:
        self._values.setdefault(name, []).append(value)


class _Aligned(NamedTuple):
    student: AttentionStates
    teacher: AttentionStates


Due = list[tuple[str, BoundTerm, tuple[LayerPair, ...]]]


class _Awaited:
    """What waits for the student's layers, terms and pairs by layer; and the teacher's states, until their last use."""

    def __init__(self, waiting: dict[int, Due], teacher: Mapping[Any, Any]) -> None:
        """waiting: by layer. teacher: its states by Source, which is wider than what Features declares."""
        self.waiting = waiting
        entries = (entry for entries in waiting.values() for entry in entries)
        self.uses: Counter[Source] = Counter(term.source(pair) for _, term, pairs in entries for pair in pairs)
        self.teacher: dict[Source, Any] = {source: teacher[source] for source in self.uses}

    def due(self, layer: int | str) -> Due:
        return [] if isinstance(layer, str) else self.waiting.get(layer, [])

    def taken(self, term: BoundTerm, pairs: Sequence[LayerPair]) -> list[Any]:
        """Return the teacher's states of these pairs, and drop those that no other pair will need."""
        sources = [term.source(pair) for pair in pairs]
        states = [self.teacher[source] for source in sources]
        for source in sources:
            self.uses[source] -= 1
            if not self.uses[source]:
                del self.teacher[source]
        return states


def _weighed(term: BoundTerm, pair: LayerPair) -> bool:
    """Whether a pair is one of several of its student layer that a map weighs; that of the embeddings never is."""
    return term.map is not None and term.map.granularity != "pair" and pair.student > 0


def _by_student(terms: Mapping[str, BoundTerm], *inputs: str) -> dict[int, Due]:
    """Return what to do when a student layer is there: by layer, terms and the pairs that they compare in one go."""
    by_layer: dict[int, Due] = {}
    for name, term in terms.items():
        if term.loss.inputs not in inputs:
            continue
        joint: dict[Any, list[LayerPair]] = {}
        for pair in term.active_pairs:
            key = pair.student if _weighed(term, pair) else pair
            joint.setdefault(key, []).append(pair)
        for pairs in joint.values():
            by_layer.setdefault(pairs[0].student, []).append((name, term, tuple(pairs)))
    return by_layer
