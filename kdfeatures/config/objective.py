"""From a run config to its Objective: losses, maps, projections and heads as conf/ names them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdfeatures.config.instantiate import instantiate
from kdfeatures.config.option_errors import option, option_line
from kdfeatures.config.switches import balancer, mixup_of
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.objective import Model, Objective
from kdfeatures.distillation.schedules import Schedule, read_schedule
from kdfeatures.distillation.term import ON_HIDDEN, ON_OUTPUTS, ON_TEACHER_LOGITS, Term
from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses.base import Outputs
from kdfeatures.mapping.dynamic import DynamicLayerMap
from kdfeatures.mapping.pairs import DEFAULT_TEACHER, LayerPair
from kdfeatures.mapping.resolve import resolve_map
from kdfeatures.models.teachers import OtherTeacherSettings
from kdfeatures.runs.moved_options import current_term

OF_RUN = "mapping"  # the option of the map that all terms take that have none of their own
HEADS = "heads"  # of a term that compares scores: how heads are brought together
ALTERNATIVES = ("regression", "multilabel")  # losses that take a term's place for other outputs
ON_LAYERS = ("weight", "pair_reduction", "mapping", "teacher")  # what a term on layers must say
TERM_FIELDS = (*ON_LAYERS, *ALTERNATIVES, HEADS)  # all else is the loss's


def objective_of(config: Mapping[str, Any], made: Mapping[str, Term] | None = None) -> Objective:
    """Return what a run config describes, before models are known.

    made: terms that were made in Python, in place of those of their name; one that names no layers takes the run's map.
    Raises UserError for terms that lack something, losses that cannot be made, weights and reductions that cannot be.
    """
    made = made or {}
    terms = {
        name: _with_run_map(made[name], config) if name in made else _term(name, node, config)
        for name, node in config["losses"].items()
    }
    with option("losses"):
        return Objective(
            terms,
            projection=_projection(config),
            balance=balancer(config),
            shares=shares_of(config),
            mixup=mixup_of(config),
        )


def bind(
    objective: Objective, student: Model, teacher: Model, others: Mapping[str, Model], *, outputs: Outputs
) -> BoundObjective:
    """Bind an objective to models or configs. Raises UserError that names the options which do not fit them."""
    try:
        return objective.bind(student, {DEFAULT_TEACHER: teacher, **others}, outputs=outputs, idle_teachers=True)
    except ConfigError as error:
        raise UserError(option_line(error)) from error


def shares_of(config: Mapping[str, Any]) -> dict[str, float] | None:
    """Return {teacher: its weight in the averaged distribution}; None for a single one."""
    others = config["teachers"]
    if not others:
        return None
    weights = {name: other.get("weight", OtherTeacherSettings.weight) for name, other in others.items()}
    return {DEFAULT_TEACHER: config["teacher"]["weight"], **weights}


@dataclass(frozen=True)
class ConfiguredMap:
    """The layer map of a config node, which the user knows as the option `name`: a function of two depths."""

    node: Mapping[str, Any]
    name: str
    allow_targets: Sequence[str]

    def __call__(self, student_layers: int, teacher_layers: int) -> Sequence[tuple[int, int]] | DynamicLayerMap:
        return instantiate(self.node, self.name, "layer map", self.allow_targets, student_layers, teacher_layers)

    @property
    def is_of_run(self) -> bool:
        """Whether it is the run's map, which all terms take that have none of their own."""
        return self.name == OF_RUN


def fixed_pairs(
    node: Mapping[str, Any], name: str, student_layers: int, teacher_layers: int, allow_targets: Sequence[str]
) -> tuple[LayerPair, ...]:
    """Return the pairs of a fixed map for two depths. Raises UserError for a map that moves."""
    with option(name):
        pairs, dynamic = resolve_map(ConfiguredMap(node, name, allow_targets), student_layers, teacher_layers)
    if dynamic is not None:
        raise UserError(
            f"{name}={dynamic.rule} has no fixed pairs, of which each could be a stage; choose another map, such as "
            f"mapping@{name}=uniform."
        )
    return pairs


def _projection(config: Mapping[str, Any]) -> Any:
    return lambda *sizes: instantiate(config["projection"], "projection", "projection", config["allow_targets"], *sizes)


def _with_run_map(term: Term, config: Mapping[str, Any]) -> Term:
    of_run = term.layers is None or (isinstance(term.layers, ConfiguredMap) and term.layers.is_of_run)
    if not (term.compares_layers and of_run):
        return term
    return replace(term, layers=ConfiguredMap(config["mapping"], OF_RUN, config["allow_targets"]))


def _term(name: str, given: Any, config: Mapping[str, Any]) -> Term:
    where = f"losses.{name}"
    if not isinstance(given, Mapping):
        raise UserError(f"{where}={given} is no term; choose one with +loss@{where}=..., or drop it with ~{where}.")
    node = current_term(given)
    allowed = config["allow_targets"]
    loss, temperature = _loss(node, where, allowed)
    alternatives = {key: _alternative(key, node, where, allowed) for key in ALTERNATIVES}
    compares_layers = loss.inputs not in ON_OUTPUTS
    for key in ON_LAYERS if compares_layers else ("weight",):
        if key not in node:
            raise UserError(f"{where} lacks {key}; add it with +{where}.{key}=...")
    weight = _weight(node["weight"], f"{where}.weight")
    if not compares_layers:
        with option(where):
            return Term(loss, weight, temperature=temperature, **alternatives)
    mapping, map_option = config["mapping"], OF_RUN
    if node["mapping"] is not None:
        mapping, map_option = node["mapping"], f"{where}.mapping"
    with option(where):
        return Term(
            loss,
            weight,
            layers=ConfiguredMap(mapping, map_option, allowed),
            pair_reduction=node["pair_reduction"],
            temperature=temperature,
            teacher=DEFAULT_TEACHER if node["teacher"] is None else node["teacher"],
            heads=_heads(node, where, config) if HEADS in node else "same",
            **alternatives,
        )


def _alternative(key: str, node: Mapping[str, Any], where: str, allow_targets: Sequence[str]) -> Any:
    """Make the loss that takes a term's place for other outputs; a temperature of null there is the term's own."""
    given = node.get(key)
    if given is None:
        return None
    if "temperature" in given and given["temperature"] is None:
        own = node["temperature"]
        with option(f"{where}.temperature"):
            given = {**given, "temperature": read_schedule(own).at(0.0) if isinstance(own, Mapping) else own}
    return instantiate(given, f"{where}.{key}", "loss", allow_targets)


def _heads(node: Mapping[str, Any], where: str, config: Mapping[str, Any]) -> Any:
    chosen, place = (config[HEADS], HEADS) if node[HEADS] is None else (node[HEADS], f"{where}.{HEADS}")
    if not isinstance(chosen, Mapping):
        raise UserError(f"{place}={chosen} names no file of conf/heads; write +{HEADS}@{place}={chosen}.")
    return lambda pairs, sizes: instantiate(chosen, place, "head alignment", config["allow_targets"], pairs, sizes)


def _loss(node: Mapping[str, Any], where: str, allow_targets: Sequence[str]) -> tuple[Any, Schedule | None]:
    """Make the loss of a term, and the schedule of its temperature if the config has one."""
    arguments = {key: value for key, value in node.items() if key not in TERM_FIELDS}
    schedule = None
    if isinstance(arguments.get("temperature"), Mapping):
        with option(f"{where}.temperature"):
            schedule = read_schedule(arguments["temperature"])
    # the loss itself says which temperatures it takes
    temperatures = [{}] if schedule is None else [{"temperature": value} for value in schedule.extremes]
    loss = [instantiate({**arguments, **chosen}, where, "loss", allow_targets) for chosen in temperatures][0]
    target = f"{where}._target_={arguments['_target_']}"
    if not hasattr(loss, "inputs"):
        raise UserError(f"{target} makes no loss: it does not say what its `inputs` are.")
    if loss.inputs in ON_TEACHER_LOGITS and not hasattr(loss, "target_temperature"):
        raise UserError(f"{target} must have a `target_temperature`; see kdfeatures.losses.")
    if loss.inputs in ON_HIDDEN and not hasattr(loss, "needs_projection"):
        raise UserError(f"{target} must say whether it `needs_projection`; derive it from HiddenLoss.")
    return loss, schedule


def _weight(value: Any, where: str) -> float | Schedule:
    if not isinstance(value, Mapping):
        return value
    with option(where):
        schedule = read_schedule(value)
        if min(schedule.extremes) < 0:
            raise ConfigError("", key="term.weight_schedule", lowest=min(schedule.extremes))
    return schedule
