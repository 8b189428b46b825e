"""An objective bound to its models: what is computed at every training step."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from kdfeatures.alignment.heads import HeadAlignment
from kdfeatures.alignment.task_aware import check_fitted
from kdfeatures.alignment.tokens.groups import TokenGroups
from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.distillation.layerwise import LayerwiseLosses
from kdfeatures.distillation.mixup.settings import CONSISTENCY, Mixup, check_mixable
from kdfeatures.distillation.schedules import Schedule, largest_of, value_at
from kdfeatures.distillation.teacher_outputs import BatchOutputs
from kdfeatures.distillation.term import ON_HIDDEN, ON_LABELS, ON_OUTPUTS, ON_TEACHER_LOGITS, BoundTerm, loss_name
from kdfeatures.errors import ConfigError
from kdfeatures.features import Features, VocabularyLogits
from kdfeatures.losses.ensemble import averaged
from kdfeatures.losses.vocabulary import OutputTerm, vocabulary_loss
from kdfeatures.mapping.dynamic import DynamicLayerMap
from kdfeatures.mapping.pairs import DEFAULT_TEACHER


class BoundObjective(nn.Module):
    """An Objective for given models: the weighted sum of its terms, and every term's unweighted value, by name.

    balance: what sets the weights by the terms' gradients, as it is told them; None leaves those of the terms.
    shares: {teacher: its share in the averaged distribution}, summing to 1; a single teacher needs none.
    mixup: how the Distiller mixes texts; None where it does not.
    attached: None; who sets it to {} finds there, after the next call, the terms' values with their graph.
    """

    def __init__(
        self,
        terms: Mapping[str, BoundTerm],
        projections: nn.Module,
        balance: GradientBalancer | None = None,
        shares: Mapping[str, float] | None = None,
        mixup: Mixup | None = None,
    ) -> None:
        super().__init__()
        if not terms:
            raise ConfigError("an objective needs at least one term", key="objective.empty")
        self.terms = dict(terms)
        self.projections = projections
        # nn.ModuleDict takes no key that is one of its own attributes, such as "keys"
        self.moving = nn.ModuleDict({f"of_{name}": term.map for name, term in terms.items() if term.map is not None})
        self.alignments = nn.ModuleDict(
            {f"of_{name}": term.heads for name, term in terms.items() if term.heads is not None}
        )
        self.vector_maps = nn.ModuleDict(
            {f"of_{name}": term.projection for name, term in terms.items() if term.projection is not None}
        )
        # losses of the package learn nothing; a user's may
        self.losses = nn.ModuleDict({f"of_{name}": term.loss for name, term in terms.items() if _learns(term.loss)})
        self.shares = (
            {DEFAULT_TEACHER: 1.0} if shares is None else {name: share for name, share in shares.items() if share > 0}
        )
        self.balance = balance
        self.mixup = mixup
        self.attached: dict[str, Tensor] | None = None
        self.advance(0.0)

    def advance(self, progress: float) -> None:
        """Set weights and temperatures to their values after this share of the training steps, 0 to 1."""
        self.weights = {name: value_at(term.weight, progress) for name, term in self.terms.items()}
        if self.balance is not None:
            largest = {name: largest_of(term.weight) for name, term in self.terms.items()}
            self.weights = self.balance.weights(self.weights, largest)
        if self.mixup is not None and self.mixup.is_consistent:
            self.weights[CONSISTENCY] = value_at(self.mixup.consistency, progress)
        for term in self.terms.values():
            if term.temperature is not None:
                term.loss.temperature = term.temperature.at(progress)

    @property
    def maps(self) -> dict[str, DynamicLayerMap]:
        """The maps that move or are measured, by the names of their terms."""
        return {name: term.map for name, term in self.terms.items() if term.map is not None}

    def check_fitted(self) -> None:
        """Raise ConfigError for maps, heads and projections that wait for what is measured before training."""
        for name, term in self.terms.items():
            for part, option in ((term.map, "layers"), (term.heads, "heads")):
                if part is not None and not part.is_fitted:
                    raise ConfigError(
                        f"the term '{name}' has {option}={part.rule}, which is measured before training, and was not",
                        hint="let kdfeatures.distill or the command line measure it, or choose another",
                        key="term.not_fitted",
                        term=name,
                    )
        check_fitted(self.projections)

    def check_training(
        self, *, sharded: bool, streaming: bool, checkpointed: bool = False, compiled: bool = False
    ) -> None:
        """Raise ConfigError for maps or heads that cannot be trained when parameters are sharded, or on a stream.

        So for texts that cannot be mixed when layers are checkpointed, or the student compiled.
        """
        if self.mixup is not None:
            check_mixable(checkpointed=checkpointed, compiled=compiled)
        heads = (term.heads for term in self.terms.values() if term.heads is not None)
        parts: list[DynamicLayerMap | HeadAlignment] = [*self.maps.values(), *heads]
        for part in parts:
            part.check_training(sharded=sharded, streaming=streaming)

    def scheduled(self) -> dict[str, float]:
        """The present value of all that a schedule or the balance changes.

        As `weight/<term>`, `temperature/<term>`, and `gradient/<term>` for the norms that the balance goes by.
        """
        terms, balance = self.terms.items(), self.balance
        changing = {name for name, term in terms if balance is not None or isinstance(term.weight, Schedule)}
        if self.mixup is not None and isinstance(self.mixup.consistency, Schedule):
            changing.add(CONSISTENCY)
        weights = {f"weight/{name}": weight for name, weight in self.weights.items() if name in changing}
        temperatures = {
            f"temperature/{name}": term.loss.temperature for name, term in terms if term.temperature is not None
        }
        norms = {} if balance is None else {f"gradient/{name}": norm for name, norm in balance.norms.items()}
        return weights | temperatures | norms

    def layers(
        self,
        inputs: Literal["hidden", "attention"],
        side: Literal["student", "teacher"],
        teacher: str = DEFAULT_TEACHER,
    ) -> list[int]:
        """The layers of one side, of which teacher, whose hidden states or attention some term compares."""
        kinds = ON_HIDDEN if inputs == "hidden" else (inputs,)
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

    def compared_by_layer(self, teachers: Collection[str]) -> list[str]:
        """Return those of the teachers whose layers some term compares."""
        return [name for name in teachers if any(term.pairs and term.teacher == name for term in self.terms.values())]

    def check_other_tokenizers(self, teachers: Collection[str]) -> None:
        """Raise ConfigError for what cannot be computed with a teacher that reads text by another tokenizer.

        Scores before the softmax have no meaning for groups of tokens: what would be the score of two keys together
        depends on the other keys of the row. Two mixed texts have no groups in common at all.
        """
        if self.mixup is not None and teachers:
            raise ConfigError(
                "mixup mixes texts token by token, but student and teacher have other tokenizers",
                hint="leave out mixup",
                key="mixup.groups",
            )
        for name, term in self.terms.items():
            if not term.pairs or term.teacher not in teachers:
                continue
            if not getattr(term.loss, "by_groups", True):
                raise ConfigError(
                    f"the term '{name}' is {loss_name(term.loss)}, which compares scores before the softmax, but "
                    "student and teacher have other tokenizers and are compared by groups of tokens, which have none",
                    hint="use AttentionKL, or RelationKL",
                    key="term.groups",
                    term=name,
                )
            if term.heads is not None and not term.heads.by_groups:
                raise ConfigError(
                    f"the term '{name}' splits queries and keys anew into heads, but student and teacher have other "
                    "tokenizers, and groups of tokens have probabilities alone",
                    hint="bring heads together by hungarian, mean or learned",
                    key="term.groups_heads",
                    term=name,
                )

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
        return any(term.loss.inputs in ON_LABELS for term in self.terms.values())

    @property
    def reads_rows_alone(self) -> bool:
        """Whether every term on outputs is a mean over rows, which may then be compared a few at a time."""
        terms = [term for term in self.terms.values() if term.loss.inputs in ON_OUTPUTS]
        return all(getattr(term.loss, "rowwise", False) and term.projection is None for term in terms)

    @property
    def reaches_the_head(self) -> bool:
        """False when no term sees the student's logits, so that its head gets no gradient."""
        return any(term.loss.inputs in ON_OUTPUTS for term in self.terms.values())

    def layerwise(
        self, teacher: Features, mask: Tensor | None, groups: Mapping[str, TokenGroups] | None = None
    ) -> LayerwiseLosses:
        """Return the sink that compares the student's features, as they are recorded, with those of the teacher.

        groups: see LayerwiseLosses.
        """
        return LayerwiseLosses(self.terms, self.projections, teacher, mask, groups)

    def forward(
        self,
        student: BatchOutputs,
        teacher: BatchOutputs | None,
        labels: Tensor | None,
        mask: Tensor | None,
        *,
        layerwise: LayerwiseLosses | None = None,
        groups: Mapping[str, TokenGroups] | None = None,
        consistency: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted total, a scalar, and the terms' unweighted values, without their graph.

        layerwise: what has compared the student's layers already, while they were recorded; None compares
        `student.features` now, with `groups` as LayerwiseLosses takes them. consistency: that of mixed texts.
        """
        if layerwise is None:
            layerwise = self.layerwise(Features() if teacher is None else teacher.features, mask, groups)
            layerwise.replay(student.features)
        values: dict[str, Tensor] = {}
        on_outputs: dict[str, OutputTerm] = {}
        for name, term in self.terms.items():
            if term.pairs:
                by_pair = torch.stack(layerwise.values_of(name, term))
                values[name] = by_pair.sum() if term.pair_reduction == "sum" else by_pair.mean()
            else:
                on_outputs[name] = self._on_outputs(name, term, teacher, labels)
        weighted = [self.weights[name] * value for name, value in values.items()]
        if isinstance(student.logits, VocabularyLogits) and self.attached is None:
            if on_outputs:
                together, by_term = vocabulary_loss(student.logits, list(on_outputs.values()))
                weighted.append(together)
                values |= dict(zip(on_outputs, by_term, strict=True))
        else:
            for name, of_outputs in on_outputs.items():
                values[name] = self._value(of_outputs, student.logits, self.terms[name].projection)
                weighted.append(self.weights[name] * values[name])
        values = {name: values[name] for name in self.terms}
        if consistency is not None:
            values[CONSISTENCY] = consistency
            weighted.append(self.weights[CONSISTENCY] * consistency)
        if self.attached is not None:
            self.attached = values
        return torch.stack(weighted).sum(), {name: value.detach() for name, value in values.items()}

    def _on_outputs(
        self, name: str, term: BoundTerm, teacher: BatchOutputs | None, labels: Tensor | None
    ) -> OutputTerm:
        reads = term.loss.inputs
        target = None
        if reads != "labels":
            assert teacher is not None
            target = self._target(term.loss, teacher.logits)
        return OutputTerm(term.loss, self.weights[name], target, labels if reads in ON_LABELS else None)

    def _value(self, term: OutputTerm, logits: Any, projection: nn.Module | None) -> Tensor:
        """Return one term's value with its graph."""
        if isinstance(logits, VocabularyLogits):
            return vocabulary_loss(logits, [replace(term, weight=1.0)])[0]
        term = term.with_logits()  # a teacher's may be unmade where the student's are not
        if projection is not None:
            logits = projection(logits)
        return term.loss(logits, *(other for other in (term.teacher, term.labels) if other is not None))

    def _target(
        self, loss: Any, logits: Tensor | VocabularyLogits | Mapping[str, Tensor] | None
    ) -> Tensor | VocabularyLogits:
        if isinstance(logits, Tensor | VocabularyLogits):
            return logits
        assert logits is not None
        stacked = torch.stack([logits[name] for name in self.shares])
        shares = stacked.new_tensor(list(self.shares.values()))
        return averaged(stacked, shares, loss.target_temperature, independent=getattr(loss, "independent", False))


def _learns(loss: Any) -> bool:
    return isinstance(loss, nn.Module) and any(True for _ in loss.parameters())
