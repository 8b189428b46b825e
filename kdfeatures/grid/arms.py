"""The arms of a grid as overrides of `kdfeatures distill`: recipes under test, controls, and the user's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from kdfeatures.commands import distill
from kdfeatures.errors import UserError, nearest
from kdfeatures.grid.cell import compose
from kdfeatures.grid.same_steps import same_steps
from kdfeatures.grid.settings import Settings, key_of
from kdfeatures.objective import MAIN

OTHER = "other_texts"  # the teacher of the control `permuted`


def arms_of(settings: Settings, task: str, teacher: str | None) -> dict[str, list[str]]:
    """Return the overrides of each arm for a task, controls first; raises UserError where they cannot be composed.

    teacher: a folder or Hub id whose config is the teacher's; None for the one that a generated task makes.
    Overrides of terms and stages are of the recipe alone: the controls have other terms. An arm in stages gets as many
    steps as the others (kdfeatures/grid/same_steps.py).
    """
    grid, shared = settings.grid, [one for one in settings.shared if not _of_terms(one)]
    terms = [one for one in settings.shared if _of_terms(one)]
    if terms and len(grid.recipes) > 1:
        raise UserError(f"{terms[0]} is for the terms of one recipe, but there are {len(grid.recipes)}; use arms.NAME.")
    own = grid.per_task.get(task, [])
    model = [f"task={task}", *([] if teacher is None else [f"teacher.path='{teacher}'"])]

    def arm(*overrides: str) -> list[str]:
        return [*overrides, *own, *same_steps([*overrides, *own, *model])]

    recipes = {name: arm(f"recipe={name}", *shared, *terms) for name in grid.recipes}
    found: dict[str, list[str]] = {}
    for control in grid.controls:
        if control != "permuted":
            found[control] = arm(f"recipe={control}", *shared)
            continue
        first, overrides = next(iter(recipes.items()))
        moved = _on_other_texts([*overrides, *model])
        if moved:
            found[f"{first}, other texts"] = [*overrides, *moved]
    found |= recipes | {name: arm(*shared, *overrides) for name, overrides in grid.arms.items()}
    if grid.baseline not in found:
        raise UserError(
            f"baseline={grid.baseline} is no arm{nearest(grid.baseline, found)}; there is {', '.join(found)}."
        )
    return found


def _of_terms(override: str) -> bool:
    key = key_of(override)
    return key.startswith(("losses", "stages")) or "@" in key


def _on_other_texts(overrides: Sequence[str]) -> list[str]:
    """Return what makes all terms on layers learn from a teacher that reads other texts; nothing without such terms."""
    cfg = compose("distill", overrides)
    found = []
    for plan in distill.check(cfg, Path("unused")):
        for name, term in plan.objective.terms.items():
            if term.loss.takes not in ("hidden", "attention", "flow") or term.teacher != MAIN:
                continue
            inside = "losses" if name in cfg.losses else f"stages.{plan.stage.name}.losses"
            found.append(f"{inside}.{name}.teacher={OTHER}")
    found = list(dict.fromkeys(found))
    return found and [f"+teachers.{OTHER}={{path: '${{teacher.path}}', weight: 0.0, permuted: true}}", *found]
