"""The arms of a grid as overrides of `kdfeatures distill`: recipes under test, controls, and the user's own."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from kdfeatures.benchmark.equal_steps import check_steps, same_steps
from kdfeatures.benchmark.grid_run import compose
from kdfeatures.benchmark.settings import GridRunSettings
from kdfeatures.config.compose import key_of, quoted
from kdfeatures.config.load import distill_settings
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.errors import UserError, nearest
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.pipelines.plan import Plan, plan_stages

LAYERS = ("hidden", "attention", "flow")  # what losses on layers take


def on_layers(cfg: DictConfig, plans: Sequence[Plan]) -> dict[str, BoundTerm]:
    """Return a run's terms on layers by the option that holds them, such as stages.intermediate.losses.hidden."""
    return {
        _place(cfg, plan, name): term
        for plan in plans
        for name, term in plan.objective.terms.items()
        if term.loss.inputs in LAYERS
    }


def without_layers(cfg: DictConfig, plans: Sequence[Plan]) -> list[str] | None:
    """Return the overrides that take these terms away, the consistency of layers, and the stages that have no other.

    None where that leaves nothing that reads the teacher's logits: MiniLM's second stage has labels alone.
    """
    outputs = [
        [term.loss for term in plan.objective.terms.values() if term.loss.inputs not in LAYERS] for plan in plans
    ]
    if not any("logits" in loss.inputs for losses in outputs for loss in losses):
        return None
    empty = {plan.stage.key for plan, losses in zip(plans, outputs, strict=True) if not losses}
    stages = [f"stages.{key}" for key in empty]
    terms = [place for place in on_layers(cfg, plans) if not place.startswith(tuple(f"{stage}." for stage in stages))]
    mixed = {plan.stage.key for plan in plans if plan.objective.mixup is not None} - empty
    places = {f"stages.{key}.mixup" if "mixup" in cfg.stages.get(key, {}) else "mixup" for key in mixed}
    consistency = [f"{place}.consistency=0" for place in sorted(places)]  # of layers; texts stay mixed
    return [*(f"~{place}" for place in (*sorted(stages), *terms)), *consistency]


def _place(cfg: DictConfig, plan: Plan, name: str) -> str:
    return f"losses.{name}" if name in cfg.losses else f"stages.{plan.stage.key}.losses.{name}"


UNUSED = Path("unused")  # the folder of a run that is only planned
OTHER = "other_texts"  # the teacher of the control `permuted`


def arms_of(settings: GridRunSettings, task: str, teacher: str | None) -> dict[str, list[str]]:
    """Return the overrides of each arm for a task, controls first; raises UserError for one that could not be run.

    teacher: a folder or Hub id whose config is the teacher's; None for the one that a generated task makes.
    Overrides of terms and stages are of the recipe, and of the controls made from it: hard and pseudo have other terms.
    An arm in stages gets as many steps as the others (kdfeatures/benchmark/equal_steps.py).
    """
    grid, shared = settings.grid, [override for override in settings.shared if not _of_terms(override)]
    terms = [override for override in settings.shared if _of_terms(override)]
    if terms and len(grid.recipes) > 1:
        raise UserError(f"{terms[0]} is for the terms of one recipe, but there are {len(grid.recipes)}; use arms.NAME.")
    of_task = grid.per_task.get(task, [])
    model = [f"task={task}", *([] if teacher is None else [f"teacher.path={quoted(str(teacher))}"])]

    @functools.cache  # composing takes longer than all else here
    def planned(*overrides: str) -> tuple[DictConfig, list[Plan]]:
        cfg = compose("distill", [*overrides, *model])
        return cfg, plan_stages(distill_settings(cfg, UNUSED), UNUSED)

    def arm(*overrides: str) -> list[str]:
        cfg, plans = planned(*overrides)
        check_steps(cfg)
        return [*overrides, *same_steps(cfg, plans, overrides)]

    first = [f"recipe={grid.recipes[0]}", *shared, *terms, *of_task]
    of_control = [override for override in of_task if not _of_terms(override)]
    arms: dict[str, list[str]] = {}
    for control in grid.controls:
        if control == "permuted":
            moved = _on_other_texts(*planned(*first))
            if moved:
                arms[f"{grid.recipes[0]}, other texts"] = [*arm(*first), *moved]
        elif control == "logits":
            removed = without_layers(*planned(*first))
            arms[control] = arm(f"recipe={control}", *shared, *of_control) if removed is None else arm(*first, *removed)
        else:
            arms[control] = arm(f"recipe={control}", *shared, *of_control)
    arms |= {name: arm(f"recipe={name}", *shared, *terms, *of_task) for name in grid.recipes}
    arms |= {name: arm(*shared, *overrides, *of_task) for name, overrides in grid.arms.items()}
    if grid.baseline not in arms:
        raise UserError(
            f"baseline={grid.baseline} is no arm{nearest(grid.baseline, arms)}; there is {', '.join(arms)}."
        )
    return arms


def _of_terms(override: str) -> bool:
    key = key_of(override)
    return key.startswith(("losses", "stages", "mixup")) or "@" in key


def _on_other_texts(cfg: DictConfig, plans: Sequence[Plan]) -> list[str]:
    """Return what makes all terms on layers learn from a teacher that reads other texts; nothing without such terms."""
    overrides = [
        f"{place}.teacher={OTHER}" for place, term in on_layers(cfg, plans).items() if term.teacher == DEFAULT_TEACHER
    ]
    return overrides and [f"+teachers.{OTHER}={{path: '${{teacher.path}}', weight: 0.0, permuted: true}}", *overrides]
