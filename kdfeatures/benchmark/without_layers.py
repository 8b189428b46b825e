"""What is left of a recipe without its terms on layers: the control that says what features add to logits."""

from __future__ import annotations

from collections.abc import Sequence

from omegaconf import DictConfig

from kdfeatures.cli.commands.distill import Plan
from kdfeatures.distillation.objective import Term

LAYERS = ("hidden", "attention", "flow")  # what losses on layers take


def on_layers(cfg: DictConfig, plans: Sequence[Plan]) -> dict[str, Term]:
    """Return a run's terms on layers by the option that holds them, such as stages.intermediate.losses.hidden."""
    return {
        _place(cfg, plan, name): term
        for plan in plans
        for name, term in plan.objective.terms.items()
        if term.loss.takes in LAYERS
    }


def without_layers(cfg: DictConfig, plans: Sequence[Plan]) -> list[str] | None:
    """Return the overrides that take these terms away, and the stages that have no other.

    None where that leaves nothing that reads the teacher's logits: MiniLM's second stage has labels alone.
    """
    outputs = [[term.loss for term in plan.objective.terms.values() if term.loss.takes not in LAYERS] for plan in plans]
    if not any("logits" in loss.takes for losses in outputs for loss in losses):
        return None
    empty = {plan.stage.key for plan, losses in zip(plans, outputs, strict=True) if not losses}
    stages = [f"stages.{key}" for key in empty]
    terms = [place for place in on_layers(cfg, plans) if not place.startswith(tuple(f"{stage}." for stage in stages))]
    return [f"~{place}" for place in (*sorted(stages), *terms)]


def _place(cfg: DictConfig, plan: Plan, name: str) -> str:
    return f"losses.{name}" if name in cfg.losses else f"stages.{plan.stage.key}.losses.{name}"
