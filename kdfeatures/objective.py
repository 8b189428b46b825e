"""The training objective: named, weighted terms over mapped layer pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from kdfeatures.balance import Balance
from kdfeatures.comparison import Comparison
from kdfeatures.features import Features
from kdfeatures.mapping import Pair
from kdfeatures.schedules import Schedule, largest_of, value_at

ON_OUTPUTS = ("labels", "logits", "logits, labels")  # what a loss `takes` that compares no layers
ON_HIDDEN = ("hidden", "flow")


class Outputs(NamedTuple):
    """What one model gave for a batch: logits (B, C) in the task's label order, and its captured features.

    The logits are None when no term needs them and the forward pass ended before the head. Those for tokens, (B, L, C),
    become (rows, C) by `at` before a loss sees them.
    """

    logits: Tensor | None
    features: Features

    def at(self, rows: Tensor) -> Outputs:
        """Return these outputs with the logits of the chosen tokens only. rows: boolean (B, L)."""
        if self.logits is None:
            return self
        # blocks of text are seldom padded, and logits over a vocabulary are large: no copy then
        return self._replace(logits=self.logits.flatten(0, 1) if rows.all() else self.logits[rows])


@dataclass(frozen=True)
class Term:
    """One loss, its weight, the layer pairs it compares, and how the pairs are put together.

    pairs is empty for losses on logits or labels. over_pairs: "sum" as TinyBERT has it, "mean" as PKD has it (the
    weight then keeps its meaning when the map changes). temperature: what the loss's own follows, or None.
    """

    loss: nn.Module
    weight: float | Schedule
    pairs: tuple[Pair, ...] = ()
    over_pairs: Literal["sum", "mean"] = "mean"
    temperature: Schedule | None = None


class Objective(nn.Module):
    """Weighted sum of the terms. Returns the total and every term's unweighted value, by name.

    balance: what sets the weights by the terms' gradients, as it is told them; None leaves those of the terms.
    attached: None; who sets it to {} finds there, after the next call, the terms' values with their graph.
    """

    def __init__(self, terms: Mapping[str, Term], projections: nn.Module, balance: Balance | None = None) -> None:
        super().__init__()
        if not terms:
            raise ValueError("an objective needs at least one term.")
        self.terms = dict(terms)
        self.projections = projections
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

    def layers(self, takes: Literal["hidden", "attention"], side: Literal["student", "teacher"]) -> list[int]:
        """The layers of one side whose hidden states or attention some term compares."""
        kinds = ON_HIDDEN if takes == "hidden" else (takes,)
        pairs = (pair for term in self.terms.values() if term.loss.takes in kinds for pair in term.pairs)
        return sorted({getattr(pair, side) for pair in pairs})

    @property
    def needs_teacher(self) -> bool:
        """False when every term compares with labels only."""
        return any(term.loss.takes != "labels" for term in self.terms.values())

    @property
    def needs_teacher_logits(self) -> bool:
        """False when the teacher's forward pass may end at the deepest layer that a term compares."""
        return any(term.loss.takes in ("logits", "logits, labels") for term in self.terms.values())

    @property
    def needs_labels(self) -> bool:
        """False when no term asks for the labels of the data."""
        return any(term.loss.takes in ("labels", "logits, labels") for term in self.terms.values())

    @property
    def reaches_the_head(self) -> bool:
        """False when no term sees the student's logits, so that its head gets no gradient."""
        return any(term.loss.takes in ON_OUTPUTS for term in self.terms.values())

    def comparison(self, teacher: Features, mask: Tensor) -> Comparison:
        """Return what compares the student's features, as they are recorded into it, with those of the teacher."""
        return Comparison(self.terms, self.projections, teacher, mask)

    def forward(
        self, student: Outputs, teacher: Outputs | None, labels: Tensor | None, mask: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        if isinstance(student.features, Comparison):
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
            takes = term.loss.takes
            if takes == "labels":
                parts[name] = term.loss(student.logits, labels)
            elif takes == "logits":
                parts[name] = term.loss(student.logits, teacher.logits)
            elif takes == "logits, labels":
                parts[name] = term.loss(student.logits, teacher.logits, labels)
            else:
                stacked = torch.stack(compared.of(name, term))
                parts[name] = stacked.sum() if term.over_pairs == "sum" else stacked.mean()
        if self.attached is not None:
            self.attached = parts
        total = torch.stack([self.weights[name] * value for name, value in parts.items()]).sum()
        return total, {name: value.detach() for name, value in parts.items()}
