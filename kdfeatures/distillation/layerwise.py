"""Compare student with teacher layer by layer, while the student's forward pass is still running.

As soon as a layer of the student is there, its pairs are compared, their gradients computed, and the teacher's layer is
dropped once no other pair needs it. What stays until the backward pass is one gradient per student tensor; teacher
features, projected states and other intermediates of a loss never lie beside all of the student's activations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from kdfeatures.alignment.projections import LinearProjections, projections_for
from kdfeatures.distillation.precomputed_gradients import with_precomputed_gradients
from kdfeatures.features import AttentionStates, Features
from kdfeatures.losses.hidden import HiddenMSE
from kdfeatures.losses.kernels.projected_mse import can_project, projected_mse
from kdfeatures.mapping.rules import LayerPair

if TYPE_CHECKING:
    from kdfeatures.distillation.objective import Term


class LayerwiseLosses(Features):
    """Features of the student that are compared as they are recorded, and not kept.

    Those of terms that take the flow between pairs of layers are kept until all are there, as are those of a map that
    weighs pairs by the costs of all; a map that weighs a student layer's candidates does so as soon as it is there.
    """

    def __init__(self, terms: Mapping[str, Term], projections: nn.Module, teacher: Features, mask: Tensor) -> None:
        super().__init__()
        self.projections, self.mask = projections, mask
        self._values: dict[str, list[Tensor]] = {}
        self._unweighed: dict[str, list[tuple[Tensor, Callable[[Tensor], Tensor]]]] = {}
        self._kept: dict[tuple[str, LayerPair], tuple[Tensor, Tensor]] = {}
        self.hidden = _Arrivals(self._compare_hidden, _by_student(terms, "hidden", "flow"), teacher.hidden)
        self.attention = _Arrivals(self._compare_attention, _by_student(terms, "attention"), teacher.attention)

    def of(self, name: str, term: Term) -> list[Tensor]:
        """Return the values of a term on layers, once all of the student's layers have been recorded."""
        if name in self._unweighed:
            costs, weighed = zip(*self._unweighed.pop(name), strict=True)
            plan = term.map.plan(torch.stack(costs))
            return self._values.get(name, []) + [value(row) for value, row in zip(weighed, plan, strict=True)]
        if term.loss.inputs != "flow":
            return self._values[name]
        ends = ((self._kept[name, one], self._kept[name, other]) for one, other in pairwise(term.compared))
        # the two student states of a pair and the next one, and the two teacher states
        return [term.loss(*zip(one, other, strict=True), self.mask) for one, other in ends]

    def _compare_hidden(
        self, name: str, term: Term, pairs: Sequence[LayerPair], student: Tensor, teachers: Sequence[Tensor]
    ) -> None:
        projections = projections_for(self.projections, term.teacher)
        if type(term.loss) is HiddenMSE and isinstance(projections, LinearProjections) and not _weighed(term, pairs[0]):
            linear = projections.of(pairs[0])
            if can_project(student, linear, teachers[0]):
                self._note(name, projected_mse(student, linear, teachers[0], self.mask))
                return

        def projected(states: Tensor) -> tuple[Tensor, list[Tensor]]:
            if not term.loss.needs_projection:
                return states, list(teachers)
            own, first = projections(pairs[0], states, teachers[0])
            # candidates share the projection of their student layer, so an empty batch of it is enough for the others
            others = zip(pairs[1:], teachers[1:], strict=True)
            return own, [first, *(projections(pair, states[:0], teacher)[1] for pair, teacher in others)]

        if term.loss.inputs == "flow":
            states, (teacher,) = projected(student)
            self._kept[name, pairs[0]] = states, teacher
            return
        parameters = [*projections.parameters(), *(() if term.map is None else term.map.parameters())]

        def evaluated(compare: Callable[..., Tensor]) -> Tensor:
            return with_precomputed_gradients(lambda states: compare(*projected(states)), [student], parameters)

        self._take(name, term, pairs, evaluated)

    def _compare_attention(
        self,
        name: str,
        term: Term,
        pairs: Sequence[LayerPair],
        student: AttentionStates,
        teachers: Sequence[AttentionStates],
    ) -> None:
        if term.heads is not None:
            # of each pair both sides: what brings their heads together may differ from pair to pair
            each = zip(pairs, teachers, strict=True)
            teachers = [_Aligned(*term.heads(pair, student, teacher, self.mask)) for pair, teacher in each]
        # these losses keep no more than gradients by themselves: kdfeatures.losses.kernels.pairwise
        self._take(name, term, pairs, lambda compare: compare(student, teachers))

    def _take(
        self, name: str, term: Term, pairs: Sequence[LayerPair], evaluated: Callable[[Callable[..., Tensor]], Tensor]
    ) -> None:
        """Note what a term gives for these pairs of one student layer.

        evaluated: calls a function of the student's states and those of each pair's teacher layer, in one space.
        """

        def loss(student: Any, teacher: Any) -> Tensor:
            both = teacher if isinstance(teacher, _Aligned) else (student, teacher)
            return term.loss(*both, self.mask)

        def losses(student: Any, teachers: Sequence[Any]) -> Tensor:
            return torch.stack([loss(student, teacher) for teacher in teachers])

        def weighed(weights: Tensor) -> Tensor:
            return evaluated(lambda *states: (weights * losses(*states)).sum())

        if not _weighed(term, pairs[0]):
            self._note(name, evaluated(lambda student, teachers: loss(student, teachers[0])))
        elif term.map.sees == "student layer":
            self._note(name, evaluated(lambda *states: term.map.compare(pairs[0].student, *states, loss, self.mask)))
        else:
            with torch.no_grad():
                costs = evaluated(losses)
            self._unweighed.setdefault(name, []).append((costs, weighed))

    def _note(self, name: str, value: Tensor) -> None:
        self._values.setdefault(name, []).append(value)


class _Aligned(NamedTuple):
    student: AttentionStates
    teacher: AttentionStates


class _Arrivals(dict):
    """Stands where Features keeps tensors by layer: what is assigned is compared with the teacher's, not stored."""

    def __init__(self, compare: Callable[..., None], waiting: dict[int, list[tuple]], teacher: Mapping) -> None:
        super().__init__()
        self.compare, self.waiting = compare, waiting
        entries = (entry for entries in waiting.values() for entry in entries)
        self.uses = Counter(term.source(pair) for _, term, pairs in entries for pair in pairs)
        self.teacher = {layer: teacher[layer] for layer in self.uses}

    def __setitem__(self, layer: int, states: Tensor | AttentionStates) -> None:
        super().__setitem__(layer, None)  # the recorder asks which layers it has seen
        for name, term, pairs in self.waiting[layer]:
            sources = [term.source(pair) for pair in pairs]
            self.compare(name, term, pairs, states, [self.teacher[source] for source in sources])
            for source in sources:
                self.uses[source] -= 1
                if not self.uses[source]:
                    del self.teacher[source]


def _weighed(term: Term, pair: LayerPair) -> bool:
    """Whether a pair is one of several of its student layer that a map weighs; that of the embeddings never is."""
    return term.map is not None and term.map.sees != "pair" and pair.student > 0


def _by_student(terms: Mapping[str, Term], *takes: str) -> dict[int, list[tuple[str, Term, tuple[LayerPair, ...]]]]:
    """Return what to do when a student layer is there: by layer, terms and the pairs that they compare in one go."""
    found: dict[int, list[tuple[str, Term, tuple[LayerPair, ...]]]] = {}
    for name, term in terms.items():
        if term.loss.inputs not in takes:
            continue
        together: dict[Any, list[LayerPair]] = {}
        for pair in term.compared:
            key = pair.student if _weighed(term, pair) else pair
            together.setdefault(key, []).append(pair)
        for pairs in together.values():
            found.setdefault(pairs[0].student, []).append((name, term, tuple(pairs)))
    return found
