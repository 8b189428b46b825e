"""The training objective as its user describes it: named, weighted terms, before models are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import copy
from typing import Any

from torch import nn
from transformers import PreTrainedConfig

from kdfeatures.alignment.heads import HeadAlignment, HeadSizes
from kdfeatures.alignment.per_teacher import ProjectionsByTeacher
from kdfeatures.alignment.projections import NoProjections
from kdfeatures.alignment.resolve import ProjectionMaker, heads_maker, projection_maker
from kdfeatures.capture.sizes import EncoderSizes
from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.mixup.settings import Mixup, check_mixup
from kdfeatures.distillation.schedules import Schedule
from kdfeatures.distillation.term import ON_HIDDEN, ON_TEACHER_LOGITS, BoundTerm, Term, loss_name
from kdfeatures.errors import ConfigError, nearest
from kdfeatures.losses.base import Outputs
from kdfeatures.mapping.pairs import DEFAULT_TEACHER, LayerPair
from kdfeatures.mapping.resolve import layer_map, resolve_map

Model = nn.Module | PreTrainedConfig | None


class Objective:
    """A weighted sum of named terms. It describes; `bind` makes and checks pairs, projections and head alignment.

    Args:
        terms: {name: Term}; more, or all of them, may be given as keywords. A bare loss stands for Term(loss).
        projection: how hidden states of two widths are brought together: "linear" (learned, student to teacher),
            "shared" (one map for all pairs), "orthonormal", "pca", or a function of (pairs, student width, teacher
            width) that returns a module.
        balance: sets the weights by the terms' gradients; None leaves those of the terms.
        shares: {teacher: its share in the averaged distribution}; None gives each of several teachers the same.
        mixup: how texts of a batch are mixed two and two; None reads them one by one.

    Raises:
        ConfigError: without terms, for a projection that is unknown, and for terms that mixed texts cannot have.

    >>> from kdfeatures import losses
    >>> objective = Objective(
    ...     logits=Term(losses.LogitKD(temperature=2)), hidden=Term(losses.HiddenMSE(), layers="last", weight=0.5)
    ... )
    >>> list(objective.terms)
    ['logits', 'hidden']
    """

    def __init__(
        self,
        terms: Mapping[str, Any] | None = None,
        *,
        projection: str | ProjectionMaker = "linear",
        balance: GradientBalancer | None = None,
        shares: Mapping[str, float] | None = None,
        mixup: Mixup | None = None,
        **more_terms: Any,
    ) -> None:
        all_terms = {**(terms or {}), **more_terms}
        self.terms: dict[str, Term] = {name: as_term(name, term) for name, term in all_terms.items()}
        if not self.terms:
            raise ConfigError("an objective needs at least one term", key="objective.empty")
        self.projection = projection_maker(projection)
        self.balance = balance
        self.shares = None if shares is None else _checked_shares(shares)
        self.mixup = mixup
        if mixup is not None:
            check_mixup(mixup, self.terms, balanced=balance is not None)

    def __repr__(self) -> str:
        lines = [f"  {name}: {term.weight} * {loss_name(term.loss)}" for name, term in self.terms.items()]
        return "\n".join(["Objective(", *lines, ")"])

    @property
    def reads_outputs(self) -> bool:
        """False when every term compares layers, so that models need no head."""
        return any(not term.compares_layers for term in self.terms.values())

    def replace(self, **terms: Any) -> Objective:
        """Return an objective with these terms changed or added; a term that is None is left out.

        Raises ConfigError when a term that shall be left out is not there.

        >>> from kdfeatures import losses
        >>> list(Objective(logits=losses.LogitKD(), hidden=losses.HiddenMSE()).replace(hidden=None).terms)
        ['logits']
        """
        self.check_known(terms)
        merged = {name: term for name, term in {**self.terms, **terms}.items() if term is not None}
        return Objective(merged, projection=self.projection, balance=self.balance, shares=self.shares, mixup=self.mixup)

    def check_known(self, terms: Mapping[str, Any]) -> None:
        """Raise ConfigError for a term that shall be left out, but is not there."""
        for name, term in terms.items():
            if term is None and name not in self.terms:
                raise ConfigError(
                    f"there is no term '{name}' to leave out{nearest(name, self.terms)}",
                    hint=f"there is {', '.join(self.terms)}",
                )

    def bind(
        self,
        student: Model,
        teacher: Model | Mapping[str, Model] = None,
        *,
        outputs: Outputs = "classes",
        idle_teachers: bool = False,
        student_encoder: str | None = None,
        teacher_encoder: str | None = None,
    ) -> BoundObjective:
        """Return the objective for these models, checked: everything that can be wrong shows here, before training.

        Args:
            student, teacher: models or configs. Several teachers are a mapping, the first one the default. None: the
                teacher is outputs that were stored, which have no layers.
            outputs: what a row of the models' outputs means: logits of "classes" of which one is true; one "score", for
                which terms take their `regression` loss; logits of "labels" each of which may be true, for which they
                take their `multilabel` one; the "vector" of a text; "positions" where an answer starts or ends.
            idle_teachers: whether a teacher that nothing learns from is let pass, as in one stage of several.
            student_encoder, teacher_encoder: dotted path of the encoder inside a module of one's own; needed only
                where layers are compared.

        Raises:
            ConfigError: for layers or teachers that do not exist, heads or widths that a loss cannot compare, a teacher
                that nothing learns from. `facts["term"]` is the term's name.
        """
        named_teachers: Mapping[str, Model] = teacher if isinstance(teacher, Mapping) else {DEFAULT_TEACHER: teacher}
        aliases = {name: DEFAULT_TEACHER if at == 0 else name for at, name in enumerate(named_teachers)}
        teachers = {aliases[name]: model for name, model in named_teachers.items()}
        binder = _Binder(student, teachers, aliases | {DEFAULT_TEACHER: DEFAULT_TEACHER}, outputs)
        binder.encoders = student_encoder, teacher_encoder
        terms = {name: binder.term(name, term) for name, term in self.terms.items()}
        projections = {name: binder.projections(terms, name, self.projection) for name in teachers}
        joint = projections[DEFAULT_TEACHER] if len(teachers) == 1 else ProjectionsByTeacher(projections)
        shares = binder.shares(self.shares)
        balance = self.balance.afresh() if self.balance is not None and len(terms) > 1 else None
        bound = BoundObjective(terms, joint, balance, shares, self.mixup)
        for alias, name in aliases.items():
            if len(teachers) > 1 and not idle_teachers and not bound.needs(name):
                raise ConfigError(
                    f"no term learns anything from the teacher '{alias}'",
                    hint="give it a share in the averaged distribution, or a term with "
                    f"teacher='{alias}', or leave it out",
                    key="objective.idle_teacher",
                    teacher=alias,
                )
        return bound


class _Binder:
    """The models that an objective is bound to."""

    encoders: tuple[str | None, str | None]

    def __init__(
        self, student: Model, teachers: Mapping[str, Model], aliases: Mapping[str, str], outputs: Outputs
    ) -> None:
        self.student, self.teachers, self.aliases, self.outputs = student, teachers, aliases, outputs

    def sizes(self, name: str, teacher: str) -> tuple[EncoderSizes, EncoderSizes]:
        model = self.teachers[teacher]
        if model is None:
            raise ConfigError(
                f"the term '{name}' compares layers, but the teacher is stored outputs, which have none",
                hint="drop the term",
                key="term.stored_teacher",
                term=name,
            )
        if self.student is None:
            raise ConfigError(f"the term '{name}' compares layers, so the student must be known", term=name)
        of_student = EncoderSizes.of(self.student, self.encoders[0], "student_encoder")
        return of_student, EncoderSizes.of(model, self.encoders[1], "teacher_encoder")

    def term(self, name: str, term: Term) -> BoundTerm:
        if not term.compares_layers:
            try:
                loss, temperature = term.for_outputs(self.outputs)
                projection = self.of_vectors(loss) if self.outputs == "vector" else None
            except ConfigError as error:
                error.facts.setdefault("term", name)
                raise
            return BoundTerm(_own(loss, temperature), term.weight, temperature=temperature, projection=projection)
        loss, temperature = _own(term.loss, term.temperature), term.temperature
        if term.teacher not in self.aliases:
            raise ConfigError(
                f"the term '{name}' names the teacher '{term.teacher}', but there is no such one"
                f"{nearest(term.teacher, self.aliases)}",
                hint=f"there is {', '.join(self.aliases)}",
                key="term.unknown_teacher",
                term=name,
                teacher=term.teacher,
                known=tuple(self.teachers),
                nearest=nearest(term.teacher, self.aliases),
            )
        teacher = self.aliases[term.teacher]
        student_sizes, teacher_sizes = self.sizes(name, teacher)
        try:
            pairs, dynamic = resolve_map(
                "uniform" if term.layers is None else layer_map(term.layers), student_sizes.layers, teacher_sizes.layers
            )
            if dynamic is not None:
                dynamic.check_loss(loss, student_sizes.hidden_size, teacher_sizes.hidden_size)
            pairs = _compared(name, loss, pairs)
            _check_flow(name, loss, pairs, dynamic is not None)
            heads = None
            if loss.inputs == "attention":
                heads = _heads(name, term, loss, pairs, student_sizes, teacher_sizes)
        except ConfigError as error:
            error.facts.setdefault("term", name)
            raise
        return BoundTerm(loss, term.weight, pairs, term.pair_reduction, temperature, teacher, dynamic, heads)

    def of_vectors(self, loss: Any) -> nn.Module | None:
        """Return what brings the student's vectors to the teacher's width, for a loss that needs it."""
        if loss.inputs not in ON_TEACHER_LOGITS:
            return None
        if len(self.teachers) > 1:
            raise ConfigError(
                f"{loss_name(loss)} compares the vectors of texts, which several teachers do not have in common",
                hint="give one teacher",
                key="term.vectors_of_several",
                loss=loss_name(loss),
            )
        student, teacher = self.student, self.teachers[DEFAULT_TEACHER]
        if student is None or teacher is None or not getattr(loss, "needs_projection", True):
            return None
        own, its = (EncoderSizes.of(model).hidden_size for model in (student, teacher))
        return nn.Linear(own, its) if own != its else None

    def projections(self, terms: Mapping[str, BoundTerm], teacher: str, maker: ProjectionMaker) -> nn.Module:
        pairs = _projected(terms, teacher)
        if self.teachers[teacher] is None or not pairs:
            return NoProjections()
        student_sizes, teacher_sizes = self.sizes("", teacher)
        return maker(pairs, student_sizes.hidden_size, teacher_sizes.hidden_size)

    def shares(self, shares: Mapping[str, float] | None) -> dict[str, float]:
        if shares is None:
            return {name: 1 / len(self.teachers) for name in self.teachers}
        unknown = next((name for name in shares if name not in self.aliases), None)
        if unknown is not None:
            raise ConfigError(
                f"shares names the teacher '{unknown}', but there is no such one{nearest(unknown, self.aliases)}",
                hint=f"there is {', '.join(self.aliases)}",
            )
        return {self.aliases[name]: share for name, share in shares.items()}


def _own(loss: Any, temperature: Schedule | None) -> Any:
    """Return a loss whose temperature a schedule may set without changing it for who else has the loss."""
    return loss if temperature is None else copy(loss)


def as_term(name: str, given: Any) -> Term:
    """Return a term: as it is, or made of a bare loss. Raises ConfigError for what is neither."""
    if isinstance(given, Term):
        return given
    if callable(given):
        return Term(given)
    raise ConfigError(
        f"the term '{name}' must be a Term or a loss, but is {given!r}",
        hint="for instance Term(HiddenMSE())",
        term=name,
    )


def _checked_shares(shares: Mapping[str, float]) -> dict[str, float]:
    for name, share in shares.items():
        if not 0 <= share < math.inf:
            raise ConfigError("must be a finite number that is not negative", argument=f"shares['{name}']", value=share)
    total = sum(shares.values())
    if not total:
        raise ConfigError("the shares of all teachers are 0, so there is no distribution to learn")
    return {name: share / total for name, share in shares.items()}


def _compared(name: str, loss: Any, pairs: tuple[LayerPair, ...]) -> tuple[LayerPair, ...]:
    if loss.inputs == "attention":
        # the embeddings have hidden states but no attention
        pairs = tuple(pair for pair in pairs if pair.student > 0 and pair.teacher > 0)
    if not pairs:
        raise ConfigError(
            f"the term '{name}' compares attention, but its layer map pairs nothing but the embeddings",
            key="term.embeddings_only",
            term=name,
        )
    return pairs


def _check_flow(name: str, loss: Any, pairs: tuple[LayerPair, ...], is_dynamic: bool) -> None:
    steps = len({pair.student for pair in pairs}) if is_dynamic else len(pairs)
    if loss.inputs == "flow" and steps < 2:
        only = "the student has one layer" if is_dynamic else f"the map has only the pair {list(pairs[0])}"
        raise ConfigError(
            f"the term '{name}' compares the step from one mapped pair of layers to the next, but {only}",
            hint="give it another map, for instance layers='uniform'",
            key="term.flow_dynamic" if is_dynamic else "term.flow",
            term=name,
            pair=list(pairs[0]),
        )


def _heads(
    name: str,
    term: Term,
    loss: Any,
    pairs: tuple[LayerPair, ...],
    student: EncoderSizes,
    teacher: EncoderSizes,
) -> HeadAlignment | None:
    """Make what brings heads together, for a loss that compares scores, and check that the loss can compare them."""
    for sizes in (student, teacher) if loss.compares_scores else ():
        if sizes.hides_scores is not None:
            raise ConfigError(
                f"the term '{name}' compares attention scores, but '{sizes.model_type}' {sizes.hides_scores}",
                hint="use RelationKL or ValueRelation",
                key="term.positions",
                term=name,
                model_type=sizes.model_type,
                reason=sizes.hides_scores,
            )
        if sizes.adds_positions and not getattr(loss, "takes_bias", False):
            raise ConfigError(
                f"the term '{name}' is {loss_name(loss)}, which may form scores of q and k alone, but "
                f"'{sizes.model_type}' adds relative positions to them",
                hint="read states.attention.scores() and set takes_bias = True in a subclass of AttentionLoss",
                term=name,
            )
    heads, alignment = (student.heads, teacher.heads), None
    if loss.compares_scores:
        head_sizes = HeadSizes(student.heads, student.attention_width, teacher.heads, teacher.attention_width)
        alignment = heads_maker(term.heads)(pairs, head_sizes)
        if not alignment.takes_bias and (student.adds_positions or teacher.adds_positions):
            positional = student if student.adds_positions else teacher
            raise ConfigError(
                f"the term '{name}' splits queries and keys anew into heads, but '{positional.model_type}' adds "
                "relative positions to the scores of its own",
                hint="bring heads together by hungarian, mean or learned",
                key="term.positions_heads",
                term=name,
                model_type=positional.model_type,
            )
        heads = alignment.compared_heads
    loss.check(
        student_heads=heads[0],
        student_width=student.attention_width,
        teacher_heads=heads[1],
        teacher_width=teacher.attention_width,
    )
    return alignment


def _projected(terms: Mapping[str, BoundTerm], teacher: str) -> tuple[LayerPair, ...]:
    """Return the pairs whose hidden states are projected, each once."""
    on_hidden = [term for term in terms.values() if term.loss.inputs in ON_HIDDEN and term.loss.needs_projection]
    pairs = (pair for term in on_hidden if term.teacher == teacher for pair in term.pairs)
    # a candidate equals the plain pair, but has another projection
    return tuple({(pair.projection, pair): pair for pair in pairs}.values())
