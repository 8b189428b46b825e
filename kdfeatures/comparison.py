"""Compare student with teacher layer by layer, while the student's forward pass is still running.

As soon as a layer of the student is there, its pairs are compared, their gradients computed, and the teacher's layer is
dropped once no other pair needs it. What stays until the backward pass is one gradient per student tensor; teacher
features, projected states and other intermediates of a loss never lie beside all of the student's activations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from kdfeatures.features import AttentionStates, Features
from kdfeatures.losses.hidden import HiddenMSE
from kdfeatures.losses.projected import can_project, projected_mse
from kdfeatures.mapping import Pair
from kdfeatures.projection import LinearProjections, projections_for

if TYPE_CHECKING:
    from kdfeatures.objective import Term


class Comparison(Features):
    """Features of the student that are compared as they are recorded, and not kept.

    Those of terms that take the flow between pairs of layers are kept until all are there. A map that weighs what it
    compares does so here: over all teacher layers as soon as a student layer is there, or over all values at the end.
    """

    def __init__(self, terms: Mapping[str, Term], projections: nn.Module, teacher: Features, mask: Tensor) -> None:
        super().__init__()
        self.projections, self.mask = projections, mask
        self._values: dict[str, dict[Pair, Tensor]] = {}
        self._kept: dict[tuple[str, Pair], tuple[Tensor, Tensor]] = {}
        self.hidden = _Arrivals(self._compare_hidden, _by_student(terms, "hidden", "flow"), teacher.hidden)
        self.attention = _Arrivals(self._compare_attention, _by_student(terms, "attention"), teacher.attention)

    def of(self, name: str, term: Term) -> list[Tensor]:
        """Return the values of a term on layers, once all of the student's layers have been recorded."""
        if term.loss.takes != "flow":
            values = self._values[name]
            return list(values.values()) if term.map is None else term.map.join(values)
        ends = ((self._kept[name, one], self._kept[name, other]) for one, other in pairwise(term.compared))
        # the two student states of a pair and the next one, and the two teacher states
        return [term.loss(*zip(one, other, strict=True), self.mask) for one, other in ends]

    def _compare_hidden(
        self, name: str, term: Term, pairs: Sequence[Pair], student: Tensor, teachers: Sequence[Tensor]
    ) -> None:
        projections = projections_for(self.projections, term.teacher)
        first, *others = zip(pairs, teachers, strict=True)
        if type(term.loss) is HiddenMSE and isinstance(projections, LinearProjections) and not others:
            linear = projections.of(pairs[0])
            if can_project(student, linear, teachers[0]):
                self._note(name, pairs, projected_mse(student, linear, teachers[0], self.mask))
                return

        def projected(states: Tensor) -> tuple[Tensor, list[Tensor]]:
            if not term.loss.projects:
                return states, list(teachers)
            student, teacher = projections(first[0], states, first[1])
            # candidates share the projection of their student layer, so an empty batch of it is enough for the others
            return student, [teacher, *(projections(pair, states[:0], own)[1] for pair, own in others)]

        if term.loss.takes == "flow":
            states, (teacher,) = projected(student)
            self._kept[name, pairs[0]] = states, teacher
            return
        parameters = [*projections.parameters(), *(() if term.map is None else term.map.parameters())]
        compare = partial(self._value, term, pairs)
        self._note(name, pairs, with_known_gradients(lambda x: compare(*projected(x)), [student], parameters))

    def _compare_attention(
        self,
        name: str,
        term: Term,
        pairs: Sequence[Pair],
        student: AttentionStates,
        teachers: Sequence[AttentionStates],
    ) -> None:
        # these losses keep no more than gradients by themselves: kdfeatures.losses.pairwise
        self._note(name, pairs, self._value(term, pairs, student, teachers))

    def _value(self, term: Term, pairs: Sequence[Pair], student: Any, teachers: Sequence[Any]) -> Tensor:
        def loss(student: Any, teacher: Any) -> Tensor:
            return term.loss(student, teacher, self.mask)

        if term.map is not None and term.map.together:
            return term.map.compare(pairs[0].student, student, teachers, loss, self.mask)
        return loss(student, teachers[0])

    def _note(self, name: str, pairs: Sequence[Pair], value: Tensor) -> None:
        self._values.setdefault(name, {})[pairs[0]] = value


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


def _by_student(terms: Mapping[str, Term], *takes: str) -> dict[int, list[tuple[str, Term, tuple[Pair, ...]]]]:
    """Return what to do when a student layer is there: by layer, terms and the pairs that they compare in one go."""
    found: dict[int, list[tuple[str, Term, tuple[Pair, ...]]]] = {}
    for name, term in terms.items():
        if term.loss.takes not in takes:
            continue
        together: dict[Any, list[Pair]] = {}
        for pair in term.compared:
            key = pair.student if term.map is not None and term.map.together else pair
            together.setdefault(key, []).append(pair)
        for pairs in together.values():
            found.setdefault(pairs[0].student, []).append((name, term, tuple(pairs)))
    return found


def with_known_gradients(
    loss: Callable[..., Tensor], states: Sequence[Tensor], parameters: Sequence[nn.Parameter]
) -> Tensor:
    """Return loss(*states), whose gradients for states and parameters are computed at once and kept in its stead.

    The value and the gradients are those of the plain call; the graph inside the loss is gone when this returns. So a
    second derivative does not exist. A graph that is being compiled cannot be cut here, and gets the plain call.
    """
    if torch.compiler.is_compiling():
        return loss(*states)
    # float16 gradients are scaled up against underflow, but only later: until then they need the range of float32
    leaves = [(x.float() if x.dtype == torch.float16 else x).detach().requires_grad_(x.requires_grad) for x in states]
    value = loss(*leaves)
    inputs = [*states, *parameters]
    wanted = [(leaf, x) for leaf, x in zip([*leaves, *parameters], inputs, strict=True) if leaf.requires_grad]
    if not value.requires_grad:
        return value
    # the backward pass takes its types from the forward pass; autocast would lower float32 matmuls once more
    with torch.autocast(value.device.type, enabled=False):
        gradients = torch.autograd.grad(value, [leaf for leaf, _ in wanted], allow_unused=True)
    known = [(g, x) for g, (_, x) in zip(gradients, wanted, strict=True) if g is not None]
    return _KnownGradients.apply(value.detach(), [g for g, _ in known], *(x for _, x in known))


class _KnownGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx, value: Tensor, gradients: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.save_for_backward(*gradients)
        ctx.dtypes = [x.dtype for x in inputs]
        return value

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream: Tensor) -> tuple[Tensor | None, ...]:
        scaled = ((upstream * g).to(dtype) for g, dtype in zip(ctx.saved_tensors, ctx.dtypes, strict=True))
        return None, None, *scaled
