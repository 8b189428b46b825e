"""The training objective: named, weighted terms over mapped layer pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from transformers import TrainingArguments

from kdfeatures.alignment.heads import HeadAlignment
from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.distillation.layerwise import LayerwiseLosses
from kdfeatures.distillation.schedules import Schedule, largest_of, value_at
from kdfeatures.features import Features
from kdfeatures.losses.ensemble import averaged
from kdfeatures.mapping.dynamic import DynamicLayerMap
from kdfeatures.mapping.rules import LayerPair

ON_TEACHER_LOGITS = ("logits", "logits, labels")
ON_OUTPUTS = ("labels", *ON_TEACHER_LOGITS)  # what a loss `inputs` that compares no layers
ON_HIDDEN = ("hidden", "flow")
DEFAULT_TEACHER = "main"  # what the first or only teacher is called beside those of `teachers`


class Outputs(NamedTuple):
    """What one model gave for a batch: logits (B, C) in the task's label order, and its captured features.

    The logits are None when no term needs them and the forward pass ended before the head. Those for tokens, (B, L, C),
    become (rows, C) by `at` before a loss sees them. Of several teachers (`together`) they are {teacher: (B, C)}, and
    layer n of all but the main one is (teacher, n) among the features.
    """

    logits: Tensor | Mapping[str, Tensor] | None
    features: Features

    def at(self, rows: Tensor) -> Outputs:
        """Return these outputs with the logits of the chosen tokens only. rows: boolean (B, L)."""
        if self.logits is None:
            return self
        # blocks of text are seldom padded, and logits over a vocabulary are large: no copy then
        return self._replace(logits=self.logits.flatten(0, 1) if rows.all() else self.logits[rows])


def together(outputs: Mapping[str, Outputs]) -> Outputs:
    """Return what several teachers gave for a batch as the outputs of one; see Outputs for how they are told apart."""
    features = Features()
    for name, (_, found) in outputs.items():
        for mine, theirs in ((features.hidden, found.hidden), (features.attention, found.attention)):
            mine.update({_source(name, layer): states for layer, states in theirs.items()})
    logits = {name: found.logits for name, found in outputs.items() if found.logits is not None}
    return Outputs(logits or None, features)


def _source(teacher: str, layer: int) -> int | tuple[str, int]:
    return layer if teacher == DEFAULT_TEACHER else (teacher, layer)


@dataclass(frozen=True)
class Term:
    """One loss, its weight, the layer pairs it compares, and how the pairs are put together.

    pairs is empty for losses on logits or labels. over_pairs: "sum" as TinyBERT has it, "mean" as PKD has it (the
    weight then keeps its meaning when the map changes). temperature: what the loss's own follows, or None.
    teacher: whose layers it compares; losses on logits take the average of all teachers. map: what chooses or weighs
    the pairs in each step (kdfeatures.mapping), which then are its candidates; None for a fixed map. heads: what brings
    the attention heads of both sides together; None for losses that compare no scores.
    """

    loss: nn.Module
    weight: float | Schedule
    pairs: tuple[LayerPair, ...] = ()
    pair_reduction: Literal["sum", "mean"] = "mean"
    temperature: Schedule | None = None
    teacher: str = DEFAULT_TEACHER
    map: DynamicLayerMap | None = None
    heads: HeadAlignment | None = None

    @property
    def compared(self) -> tuple[LayerPair, ...]:
        """The pairs of the present step; `pairs` are all that any step may compare."""
        if self.map is None:
            return self.pairs
        chosen = set(self.map.compared())
        return tuple(pair for pair in self.pairs if pair in chosen)

    def source(self, pair: LayerPair) -> int | tuple[str, int]:
        """Return under which key the teacher's layer of a pair is among the features; see Outputs."""
        return _source(self.teacher, pair.teacher)


class Objective(nn.Module):
    """Weighted sum of the terms. Returns the total and every term's unweighted value, by name.

    balance: what sets the weights by the terms' gradients, as it is told them; None leaves those of the terms.
    shares: {teacher: its share in the averaged distribution}, summing to 1; a single teacher needs none.
    attached: None; who sets it to {} finds there, after the next call, the terms' values with their graph.
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        projections: nn.Module,
        balance: GradientBalancer | None = None,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        if not terms:
            raise ValueError("an objective needs at least one term.")
        self.terms = dict(terms)
        self.projections = projections
        # nn.ModuleDict takes no key that is one of its own attributes, such as "keys"
        self.moving = nn.ModuleDict({f"of_{name}": term.map for name, term in terms.items() if term.map is not None})
        self.alignments = nn.ModuleDict(
            {f"of_{name}": one.heads for name, one in terms.items() if one.heads is not None}
        )
        self.shares = (
            {DEFAULT_TEACHER: 1.0} if shares is None else {name: share for name, share in shares.items() if share > 0}
        )
        self.balance = balance
        self.attached: dict[str, Tensor] | None = None
        self.advance(0.0)

    def advance(self, progress: float) -> None:
        """Set weights and temperatures to their values after this share of the training steps, 0 to 1."""
        self.weights = {name: value_at(term.weight, progress) for name, term in self.terms.items()}
        if self.balance is not None:
            largest = {name: largest_of(term.weight) for name, term in self.terms.items()}
            self.weights = self.balance.weights(self.weights, largest)
        for term in self.terms.values():
            if term.temperature is not None:
                term.loss.temperature = term.temperature.at(progress)

    @property
    def maps(self) -> dict[str, DynamicLayerMap]:
        """The maps that move or are measured, by the names of their terms."""
        return {name: term.map for name, term in self.terms.items() if term.map is not None}

    def check_training(self, arguments: TrainingArguments, *, streaming: bool) -> None:
        """Raise UserError for maps or heads that cannot be trained as the arguments say, or on a stream."""
        for one in (*self.moving.values(), *self.alignments.values()):
            one.check_training(arguments, streaming=streaming)

    def scheduled(self) -> dict[str, float]:
        """The present value of all that a schedule or the balance changes.

        As `weight/<term>`, `temperature/<term>`, and `gradient/<term>` for the norms that the balance goes by.
        """
        terms, balance = self.terms.items(), self.balance
        moves = {name for name, term in terms if balance is not None or isinstance(term.weight, Schedule)}
        weights = {f"weight/{name}": weight for name, weight in self.weights.items() if name in moves}
        heats = {f"temperature/{name}": term.loss.temperature for name, term in terms if term.temperature is not None}
        norms = {} if balance is None else {f"gradient/{name}": norm for name, norm in balance.norms.items()}
        return weights | heats | norms

    def layers(
        self, takes: Literal["hidden", "attention"], side: Literal["student", "teacher"], teacher: str = DEFAULT_TEACHER
    ) -> list[int]:
        """The layers of one side, of which teacher, whose hidden states or attention some term compares."""
        kinds = ON_HIDDEN if takes == "hidden" else (takes,)
        terms = (term for term in self.terms.values() if term.loss.inputs in kinds)
        pairs = (pair for term in terms if side == "student" or term.teacher == teacher for pair in term.pairs)
        return sorted({getattr(pair, side) for pair in pairs})

    def needs_logits_of(self, teacher: str) -> bool:
        """False when this teacher's forward pass may end at the deepest layer that a term compares."""
        return self.needs_teacher_logits and teacher in self.shares

    def needs(self, teacher: str) -> bool:
        """False when no term learns anything from this teacher."""
        on_layers = (term for term in self.terms.values() if term.pairs)
        return self.needs_logits_of(teacher) or any(term.teacher == teacher for term in on_layers)

    @property
    def needs_teacher(self) -> bool:
        """False when every term compares with labels only."""
        return any(term.loss.inputs != "labels" for term in self.terms.values())

    @property
    def needs_teacher_logits(self) -> bool:
        """False when no term sees a teacher's logits."""
        return any(term.loss.inputs in ON_TEACHER_LOGITS for term in self.terms.values())

    @property
    def needs_labels(self) -> bool:
        """False when no term asks for the labels of the data."""
        return any(term.loss.inputs in ("labels", "logits, labels") for term in self.terms.values())

    @property
    def reaches_the_head(self) -> bool:
        """False when no term sees the student's logits, so that its head gets no gradient."""
        return any(term.loss.inputs in ON_OUTPUTS for term in self.terms.values())

    def comparison(self, teacher: Features, mask: Tensor) -> LayerwiseLosses:
        """Return what compares the student's features, as they are recorded into it, with those of the teacher."""
        return LayerwiseLosses(self.terms, self.projections, teacher, mask)

    def forward(
        self, student: Outputs, teacher: Outputs | None, labels: Tensor | None, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if isinstance(student.features, LayerwiseLosses):
            compared = student.features
        else:
            compared = self.comparison(teacher.features if teacher else Features(), mask)
            for of_student, arriving in (
                (student.features.hidden, compared.hidden),
                (student.features.attention, compared.attention),
            ):
                for layer in arriving.waiting:
                    arriving[layer] = of_student[layer]
        parts: dict[str, Tensor] = {}
        for name, term in self.terms.items():
            inputs = term.loss.inputs
            if inputs == "labels":
                parts[name] = term.loss(student.logits, labels)
            elif inputs == "logits":
                parts[name] = term.loss(student.logits, self._target(term.loss, teacher.logits))
            elif inputs == "logits, labels":
                parts[name] = term.loss(student.logits, self._target(term.loss, teacher.logits), labels)
            else:
                stacked = torch.stack(compared.of(name, term))
                parts[name] = stacked.sum() if term.pair_reduction == "sum" else stacked.mean()
        if self.attached is not None:
            self.attached = parts
        total = torch.stack([self.weights[name] * value for name, value in parts.items()]).sum()
        return total, {name: value.detach() for name, value in parts.items()}

    def _target(self, loss: nn.Module, logits: Tensor | Mapping[str, Tensor]) -> Tensor:
        if isinstance(logits, Tensor):
            return logits
        stacked = torch.stack([logits[name] for name in self.shares])
        return averaged(stacked, stacked.new_tensor(list(self.shares.values())), loss.target_temperature)
