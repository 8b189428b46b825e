"""From a composed run config to its layer pairs and its objective, checked against both models."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from kdfeatures.alignment.heads import HeadAlignment, HeadSizes
from kdfeatures.alignment.projections import ProjectionsByTeacher
from kdfeatures.capture.families import family_of
from kdfeatures.config.instantiate import instantiate
from kdfeatures.distillation.balancing import balance_settings
from kdfeatures.distillation.objective import DEFAULT_TEACHER, ON_HIDDEN, ON_OUTPUTS, ON_TEACHER_LOGITS, Objective, Term
from kdfeatures.distillation.schedules import Schedule, read_schedule
from kdfeatures.errors import UserError, nearest
from kdfeatures.mapping import DynamicLayerMap
from kdfeatures.mapping.rules import LayerPair, validate
from kdfeatures.tasks.task import Task

ALIGNMENT = "heads"  # of a term that compares scores; a number under this name is an argument of the loss
TERM_FIELDS = ("weight", "over_pairs", "mapping", "teacher", "regression")  # all else are arguments of the loss


def build_pairs(
    mapping: DictConfig, option: str, student_layers: int, teacher_layers: int, allow_targets: Sequence[str]
) -> tuple[LayerPair, ...]:
    """Apply a fixed mapping rule, which the user knows as `option`, to two depths and validate what it gives."""
    pairs, moving = build_map(mapping, option, student_layers, teacher_layers, allow_targets)
    if moving is not None:
        raise UserError(
            f"{option}={moving.rule} has no fixed pairs, of which each could be a stage; choose another map, such as "
            f"mapping@{option}=uniform."
        )
    return pairs


def build_map(
    mapping: DictConfig, option: str, student_layers: int, teacher_layers: int, allow_targets: Sequence[str]
) -> tuple[tuple[LayerPair, ...], DynamicLayerMap | None]:
    """As `build_pairs`, also for maps that move or are measured: these come with their candidates; None for others."""
    made = instantiate(mapping, option, allow_targets, student_layers, teacher_layers)
    pairs, moving = (made.pairs, made) if isinstance(made, DynamicLayerMap) else (made, None)
    validate(pairs, student_layers, teacher_layers)
    return pairs, moving


def build_objective(
    cfg: DictConfig, student_config, teacher_config, *, regression: bool, others: Mapping[str, Any] | None = None
) -> tuple[Objective, tuple[LayerPair, ...]]:
    """Build the objective of a composed run config and check it against all models, before any training.

    teacher_config: None when the teacher is stored outputs. others: the configs of the teachers in `teachers`.
    Returns it with the pairs whose hidden states are projected. Raises UserError for a layer or a teacher that does not
    exist, a term without pairs, an unknown `over_pairs`, or heads and widths that a loss cannot compare.
    """
    teachers = {DEFAULT_TEACHER: teacher_config, **(others or {})}
    terms = {}
    for name, node in cfg.losses.items():
        terms[name] = _term(name, node, cfg, student_config, teachers, regression=regression)
    if not terms:
        raise UserError(
            "the run has no losses; choose recipe=... or add one, for instance +loss@losses.logits=logit_kd."
        )
    pairs = {name: _projected(terms, name) for name in teachers}
    projections = {
        name: nn.Identity()
        if config is None
        else instantiate(
            cfg.projection, "projection", cfg.allow_targets, pairs[name], student_config.hidden_size, config.hidden_size
        )
        for name, config in teachers.items()
    }
    joint = projections[DEFAULT_TEACHER] if len(teachers) == 1 else ProjectionsByTeacher(projections)
    balance = balance_settings(cfg) if len(terms) > 1 else None
    return Objective(terms, joint, balance, shares_of(cfg)), tuple(pair for found in pairs.values() for pair in found)


def shares_of(cfg: DictConfig) -> dict[str, float]:
    """Return {teacher: its share in the averaged distribution} of a run config whose weights have been checked."""
    weights = {DEFAULT_TEACHER: cfg.teacher.weight} | {name: other.weight for name, other in cfg.teachers.items()}
    return {name: weight / sum(weights.values()) for name, weight in weights.items()}


def _projected(terms: Mapping[str, Term], teacher: str) -> tuple[LayerPair, ...]:
    hidden = [term for term in terms.values() if term.loss.inputs in ON_HIDDEN and term.loss.needs_projection]
    pairs = (pair for term in hidden if term.teacher == teacher for pair in term.pairs)
    # a candidate equals the plain pair, but has another projection
    return tuple({(pair.projection, pair): pair for pair in pairs}.values())


def task_of_run(cfg: DictConfig) -> Task:
    """Return the task of a composed run config; text without outputs if it is text and no term reads any."""
    task = Task.from_config(OmegaConf.to_container(cfg.task))
    if task.kind != "text":
        return task
    for name, node in cfg.losses.items():
        if isinstance(node, DictConfig):  # build_objective refuses any other
            loss, _ = _loss(node, f"losses.{name}", cfg.allow_targets, regression=False)
            if loss.inputs in ON_OUTPUTS:
                return task
    return task.without_outputs


def _term(
    name: str, node: DictConfig, cfg: DictConfig, student_config, teachers: Mapping[str, Any], *, regression: bool
) -> Term:
    option = f"losses.{name}"
    if not isinstance(node, DictConfig):
        raise UserError(f"{option}={node} is no term; choose one with +loss@{option}=..., or drop it with ~{option}.")
    loss, temperature = _loss(node, option, cfg.allow_targets, regression=regression)
    on_layers = loss.inputs not in ON_OUTPUTS
    for key in ("weight", "over_pairs", "mapping", "teacher") if on_layers else ("weight",):
        if key not in node:
            raise UserError(f"{option} lacks {key}; add it with +{option}.{key}=...")
    weight = _weight(node.weight, f"{option}.weight")
    if not on_layers:
        return Term(loss, weight, temperature=temperature)
    teacher, teacher_config = _teacher(node.teacher, option, teachers)
    if node.pair_reduction not in ("sum", "mean"):
        raise UserError(
            f"{option}.pair_reduction={node.pair_reduction} is unknown{nearest(node.pair_reduction, ('sum', 'mean'))}; "
            "choose sum or mean."
        )
    depths = student_config.num_hidden_layers, teacher_config.num_hidden_layers
    mapping, its_option = (cfg.mapping, "mapping") if node.mapping is None else (node.mapping, f"{option}.mapping")
    pairs, moving = build_map(mapping, its_option, *depths, cfg.allow_targets)
    if moving is not None:
        moving.check(option, loss, student_config.hidden_size, teacher_config.hidden_size)
    if loss.inputs == "attention":
        # the embeddings have hidden states but no attention
        pairs = tuple(pair for pair in pairs if pair.student > 0 and pair.teacher > 0)
    if not pairs:
        raise UserError(f"{option} compares attention, but the mapping pairs nothing but the embeddings.")
    steps = len(pairs) if moving is None else len({pair.student for pair in pairs})
    if loss.inputs == "flow" and steps < 2:
        only = f"the mapping has only the pair {list(pairs[0])}" if moving is None else "the student has one layer"
        raise UserError(
            f"{option} compares the step from one mapped pair of layers to the next, but {only}; give it another, for "
            f"instance '+mapping@{option}.mapping=uniform'."
        )
    heads = None
    if loss.inputs == "attention":
        heads = _heads(option, node, cfg, loss, pairs, student_config, teacher_config)
    return Term(loss, weight, pairs, node.pair_reduction, temperature, teacher, moving, heads)


def _teacher(given: str | None, option: str, teachers: Mapping[str, Any]) -> tuple[str, Any]:
    """Return the name and the config of the teacher whose layers a term compares."""
    name = DEFAULT_TEACHER if given is None else given
    if name not in teachers:
        raise UserError(
            f"{option}.teacher={name} is no teacher of this run{nearest(name, teachers)}; it has {', '.join(teachers)}."
        )
    if teachers[name] is None:
        raise UserError(
            f"{option} compares layers, but teacher.outputs holds none; drop it with '~{option}', or choose "
            "recipe=logits."
        )
    return name, teachers[name]


def _loss(
    node: DictConfig, option: str, allow_targets: Sequence[str], *, regression: bool
) -> tuple[nn.Module, Schedule | None]:
    """Make the loss of a term, and the schedule of its temperature if the config has one."""
    left_out = TERM_FIELDS if type(node.get(ALIGNMENT)) is int else (*TERM_FIELDS, ALIGNMENT)
    own = OmegaConf.masked_copy(node, [key for key in node if key not in left_out])
    if regression and node.get("regression") is not None:
        own = node.regression
    schedule = None
    if isinstance(own.get("temperature"), DictConfig):
        schedule = read_schedule(OmegaConf.to_container(own.temperature, resolve=True), f"{option}.temperature")
    # the loss itself says which temperatures it takes
    heats = [{}] if schedule is None else [{"temperature": value} for value in schedule.extremes]
    loss = [instantiate(OmegaConf.merge(own, heat), option, allow_targets) for heat in heats][0]
    if not hasattr(loss, "inputs"):
        raise UserError(f"{option}._target_={own._target_} makes no loss: it does not say what it `inputs`.")
    if loss.inputs in ON_TEACHER_LOGITS and not hasattr(loss, "target_temperature"):
        raise UserError(f"{option}._target_={own._target_} must have a `target_temperature`; see kdfeatures.losses.")
    if loss.inputs in ON_HIDDEN and not hasattr(loss, "needs_projection"):
        raise UserError(
            f"{option}._target_={own._target_} must say whether it `needs_projection`; derive it from HiddenLoss."
        )
    return loss, schedule


def _weight(value: float | DictConfig, option: str) -> float | Schedule:
    if isinstance(value, DictConfig):
        weight = read_schedule(OmegaConf.to_container(value, resolve=True), option)
        if min(weight.extremes) < 0:
            raise UserError(f"{option} goes down to {min(weight.extremes)}, but a weight must not be negative.")
        return weight
    if type(value) not in (int, float) or not 0 <= value < math.inf:
        raise UserError(f"{option}={value} must be a finite number that is not negative.")
    return value


def _heads(
    option: str,
    node: DictConfig,
    cfg: DictConfig,
    loss: nn.Module,
    pairs: Sequence[LayerPair],
    student_config,
    teacher_config,
) -> HeadAlignment | None:
    """Make what brings heads together, for a loss that compares scores, and check that the loss can compare them."""
    for config in (student_config, teacher_config) if loss.compares_scores else ():
        if family_of(config).positional(config):
            raise UserError(
                f"{option} compares attention scores derived from q and k, but '{config.model_type}' adds "
                "relative positions to them; use relation_kl or value_relation (recipe=minilmv2)."
            )
    # not every config's heads and hidden size are those of its attention: MobileBERT, ConvBERT
    student, teacher = family_of(student_config), family_of(teacher_config)
    counts = student.heads(student_config), teacher.heads(teacher_config)
    widths = student.width(student_config), teacher.width(teacher_config)
    made = None
    if loss.compares_scores and ALIGNMENT in node:
        chosen, its = (cfg.heads, ALIGNMENT) if node.heads is None else (node.heads, f"{option}.{ALIGNMENT}")
        if not isinstance(chosen, DictConfig):
            raise UserError(f"{its}={chosen} names no file of conf/heads; write +{ALIGNMENT}@{its}={chosen}.")
        sizes = HeadSizes(counts[0], widths[0], counts[1], widths[1])
        made = instantiate(chosen, its, cfg.allow_targets, pairs, sizes)
        counts = made.compared
    loss.check(student_heads=counts[0], student_width=widths[0], teacher_heads=counts[1], teacher_width=widths[1])
    return made
