"""One term of an objective: a loss, its weight, and for losses on layers which layers it compares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

from torch import nn

from kdfeatures.alignment.heads import HeadAlignment
from kdfeatures.alignment.resolve import HeadsMaker, heads_maker
from kdfeatures.distillation.schedules import Schedule
from kdfeatures.distillation.teacher_outputs import Source, source_of
from kdfeatures.errors import ConfigError, nearest
from kdfeatures.losses.base import Outputs, as_loss
from kdfeatures.mapping.dynamic import DynamicLayerMap
from kdfeatures.mapping.pairs import DEFAULT_TEACHER, LayerPair
from kdfeatures.mapping.resolve import LayerMap, layer_map

ON_TEACHER_LOGITS = ("logits", "logits, labels")
ON_LABELS = ("labels", "logits, labels")
ON_OUTPUTS = ("labels", *ON_TEACHER_LOGITS)  # the `inputs` of losses that compare no layers
ON_HIDDEN = ("hidden", "flow")
PairReduction = Literal["sum", "mean"]


@dataclass(frozen=True)
class Term:
    """One loss, its weight, and for losses on layers what they compare. Models and depths are not known yet.

    Args:
        loss: one of kdfeatures.losses, or a function or nn.Module of (student, teacher, mask) on hidden states
            (kdfeatures.losses.FunctionLoss for one on other inputs).
        weight: what its value is multiplied by, or a Schedule.
        layers: which student layer learns from which teacher layer: the name of a map ("uniform", "last", ...; see
            kdfeatures.mapping.LAYER_MAPS), pairs [(student layer, teacher layer), ...], or a function of both depths.
            None is "uniform" for losses on layers; losses on outputs take none.
        pair_reduction: "sum" over the pairs as TinyBERT has it, or "mean" as PKD has it: the weight then keeps its
            meaning when the map changes.
        temperature: a Schedule that the loss's temperature follows; None leaves it as it is.
        teacher: whose layers are compared; losses on logits take the average of all teachers.
        heads: how attention heads are brought together: "same", "hungarian", "mean", "learned", "relation", or what
            makes a HeadAlignment. Read by losses that compare scores.
        regression: the loss that takes its place where models have one output, such as LogitMSE for LogitKD.
        multilabel: the same where each output is a label that may be true, such as BinaryKD for LogitKD.

    Raises:
        ConfigError: for a negative weight, an unknown reduction or map, and layers for a loss that compares none.

    >>> from kdfeatures.losses import HiddenMSE
    >>> Term(HiddenMSE(), layers=[(1, 4), (2, 8)], weight=0.5).pair_reduction
    'sum'
    """

    loss: Any
    weight: float | Schedule = 1.0
    layers: str | Sequence[Sequence[int]] | LayerMap | None = None
    pair_reduction: PairReduction = "sum"
    temperature: Schedule | None = None
    teacher: str = DEFAULT_TEACHER
    heads: str | HeadsMaker = "same"
    regression: Any = None
    multilabel: Any = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", as_loss(self.loss))
        _check_loss(self.loss)
        for alternative in ("regression", "multilabel"):
            if getattr(self, alternative) is not None:
                object.__setattr__(self, alternative, as_loss(getattr(self, alternative)))
        _check_weight(self.weight)
        if self.pair_reduction not in get_args(PairReduction):
            known = get_args(PairReduction)
            raise ConfigError(
                f"is unknown{nearest(self.pair_reduction, known)}",
                argument="pair_reduction",
                value=self.pair_reduction,
                hint="choose sum or mean",
            )
        if self.layers is not None:
            if not self.compares_layers:
                raise ConfigError(
                    f"names layers, but {loss_name(self.loss)} compares {self.loss.inputs}",
                    argument="layers",
                    value=self.layers,
                    hint="leave it out",
                )
            layer_map(self.layers)
        heads_maker(self.heads)

    def for_outputs(self, outputs: Outputs) -> tuple[Any, Schedule | None]:
        """Return the loss for outputs of this meaning, and what its temperature follows.

        Raises ConfigError for a loss that cannot compare them.
        """
        alternative = {"score": self.regression, "labels": self.multilabel}.get(outputs)
        if alternative is None:
            _check_outputs(self.loss, outputs)
            return self.loss, self.temperature
        # the schedule is of the loss that is replaced; one that has a temperature as well follows it
        return alternative, self.temperature if hasattr(alternative, "temperature") else None

    @property
    def compares_layers(self) -> bool:
        return self.loss.inputs not in ON_OUTPUTS


@dataclass(frozen=True)
class BoundTerm:
    """A term for two given models: the pairs that it compares, checked, and what brings their heads together.

    pairs is empty for losses on logits or labels. map: what chooses or weighs the pairs in each step
    (kdfeatures.mapping), which then are its candidates; None for a fixed map. heads: None for losses that compare no
    scores. projection: of vectors of another width than the teacher's; None where they are compared as they are.
    """

    loss: Any
    weight: float | Schedule
    pairs: tuple[LayerPair, ...] = ()
    pair_reduction: PairReduction = "sum"
    temperature: Schedule | None = None
    teacher: str = DEFAULT_TEACHER
    map: DynamicLayerMap | None = None
    heads: HeadAlignment | None = None
    projection: nn.Module | None = None

    @property
    def active_pairs(self) -> tuple[LayerPair, ...]:
        """The pairs of the present step; `pairs` are all that any step may compare."""
        if self.map is None:
            return self.pairs
        active = set(self.map.active_pairs())
        return tuple(pair for pair in self.pairs if pair in active)

    def source(self, pair: LayerPair) -> Source:
        """Return under which key the teacher's layer of a pair is among the features; see BatchOutputs."""
        return source_of(self.teacher, pair.teacher)


def loss_name(loss: Any) -> str:
    """Return what a loss is called: its class, or the function that it wraps."""
    return getattr(loss, "name", None) or type(loss).__name__


FITTING: dict[Outputs, str] = {  # losses for outputs of a meaning
    "classes": "LogitKD",
    "score": "LogitMSE",
    "labels": "BinaryKD",
    "vector": "EmbeddingCosine",
    "positions": "LogitKD",
}


def _check_outputs(loss: Any, outputs: Outputs) -> None:
    known = getattr(loss, "outputs", None)
    if known is None or outputs in known:
        return
    name, fitting, listed = loss_name(loss), FITTING[outputs], " or ".join(known)
    raise ConfigError(
        f"{name} compares outputs that mean {listed}, but those of these models mean {outputs}",
        hint=f"use {fitting}",
        key="term.outputs",
        loss=name,
        known=listed,
        outputs=outputs,
        fitting=fitting,
    )


def _check_loss(loss: nn.Module | Callable[..., Any]) -> None:
    name, inputs = loss_name(loss), getattr(loss, "inputs", None)
    if inputs in ON_TEACHER_LOGITS and not hasattr(loss, "target_temperature"):
        raise ConfigError(
            f"{name} must have a `target_temperature`", hint="see kdfeatures.losses", key="loss.target_temperature"
        )
    if inputs in ON_HIDDEN and not hasattr(loss, "needs_projection"):
        raise ConfigError(
            f"{name} must say whether it `needs_projection`",
            hint="derive it from HiddenLoss",
            key="loss.needs_projection",
        )


def _check_weight(weight: float | Schedule) -> None:
    if isinstance(weight, Schedule):
        if min(weight.extremes) < 0:
            raise ConfigError(
                f"the weight goes down to {min(weight.extremes)}, but must not be negative",
                key="term.weight_schedule",
                lowest=min(weight.extremes),
            )
    elif not isinstance(weight, Real) or isinstance(weight, bool) or not 0 <= weight < math.inf:
        raise ConfigError("must be a finite number that is not negative", argument="weight", value=weight)
