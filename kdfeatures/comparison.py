"""Compare student with teacher layer by layer, while the student's forward pass is still running.

As soon as a layer of the student is there, its pairs are compared, their gradients computed, and the teacher's layer is
dropped once no other pair needs it. What stays until the backward pass is one gradient per student tensor; teacher
features, projected states and other intermediates of a loss never lie beside all of the student's activations.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

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

    Those of terms that take the flow between pairs of layers are kept until all are there.
    """

    def __init__(self, terms: Mapping[str, Term], projections: nn.Module, teacher: Features, mask: Tensor) -> None:
        super().__init__()
        self.projections, self.mask = projections, mask
        self._values: dict[str, list[Tensor]] = {}
        self._kept: dict[tuple[str, Pair], tuple[Tensor, Tensor]] = {}
        self.hidden = _Arrivals(self._compare_hidden, _by_student(terms, "hidden", "flow"), teacher.hidden)
        self.attention = _Arrivals(self._compare_attention, _by_student(terms, "attention"), teacher.attention)

    def of(self, name: str, term: Term) -> list[Tensor]:
        """Return the values of a term on layers, once all of the student's layers have been recorded."""
        if term.loss.takes != "flow":
            return self._values[name]
        ends = ((self._kept[name, one], self._kept[name, other]) for one, other in pairwise(term.pairs))
        # the two student states of a pair and the next one, and the two teacher states
        return [term.loss(*zip(one, other, strict=True), self.mask) for one, other in ends]

    def _compare_hidden(self, name: str, term: Term, pair: Pair, student: Tensor, teacher: Tensor) -> None:
        projections = projections_for(self.projections, term.teacher)
        if type(term.loss) is HiddenMSE and isinstance(projections, LinearProjections):
            linear = projections.of(pair)
            if can_project(student, linear, teacher):
                self._note(name, projected_mse(student, linear, teacher, self.mask))
                return

        def projected(states: Tensor) -> tuple[Tensor, Tensor]:
            return projections(pair, states, teacher) if term.loss.projects else (states, teacher)

        def loss(states: Tensor) -> Tensor:
            return term.loss(*projected(states), self.mask)

        if term.loss.takes == "flow":
            self._kept[name, pair] = projected(student)
        else:
            self._note(name, with_known_gradients(loss, [student], list(projections.parameters())))

    def _compare_attention(
        self, name: str, term: Term, pair: Pair, student: AttentionStates, teacher: AttentionStates
    ) -> None:
        # these losses keep no more than gradients by themselves: kdfeatures.losses.pairwise
        self._note(name, term.loss(student, teacher, self.mask))

    def _note(self, name: str, value: Tensor) -> None:
        self._values.setdefault(name, []).append(value)


class _Arrivals(dict):
    """Stands where Features keeps tensors by layer: what is assigned is compared with the teacher's, not stored."""

    def __init__(self, compare: Callable[..., None], waiting: dict[int, list[tuple]], teacher: Mapping) -> None:
        super().__init__()
        self.compare, self.waiting = compare, waiting
        self.uses = Counter(term.source(pair) for entries in waiting.values() for _, term, pair in entries)
        self.teacher = {layer: teacher[layer] for layer in self.uses}

    def __setitem__(self, layer: int, states: Tensor | AttentionStates) -> None:
        super().__setitem__(layer, None)  # the recorder asks which layers it has seen
        for name, term, pair in self.waiting[layer]:
            source = term.source(pair)
            self.compare(name, term, pair, states, self.teacher[source])
            self.uses[source] -= 1
            if not self.uses[source]:
                del self.teacher[source]


def _by_student(terms: Mapping[str, Term], *takes: str) -> dict[int, list[tuple[str, Term, Pair]]]:
    found: dict[int, list[tuple[str, Term, Pair]]] = {}
    for name, term in terms.items():
        if term.loss.takes in takes:
            for pair in term.pairs:
                found.setdefault(pair.student, []).append((name, term, pair))
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
