"""An arm in stages trains as long as any other: its stages share the steps of a run and take the rate that is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from kdfeatures.errors import UserError
from kdfeatures.pipelines.plan import Plan

RATE = "${trainer.learning_rate}"


def same_steps(cfg: DictConfig, plans: Sequence[Plan], overrides: Sequence[str]) -> list[str]:
    """Return the overrides that do so; none for an arm without stages.

    cfg, plans: of a run with `overrides`. A stage with one stage for each layer counts as so many. What `overrides` say
    of a stage themselves stays as it is.
    """
    if not cfg.stages:
        return []
    wanted = {"learning_rate": RATE, "num_train_epochs": f"{cfg.trainer.num_train_epochs / len(plans):g}"}
    if cfg.trainer.max_steps > 0:
        wanted["max_steps"] = str(max(1, cfg.trainer.max_steps // len(plans)))
    given = {key for override in overrides for key in _keys(override)}
    options = {f"stages.{name}.trainer.{option}": value for name in cfg.stages for option, value in wanted.items()}
    return [f"++{key}={value}" for key, value in options.items() if key not in given]


def check_steps(cfg: DictConfig) -> None:
    """Raise UserError where epochs are of other lengths for other arms, or the validation split chooses the end.

    An arm that learns from labels alone leaves out examples that have none, so its epoch is shorter.
    """
    unlabelled = [f"data.{name}={cfg.data[name]}" for name in ("labelled", "pool") if cfg.data[name] is not None]
    unlabelled += [f"augmentation.copies={cfg.augmentation.copies}"] if "mlm" in cfg.augmentation else []
    if unlabelled and cfg.trainer.max_steps <= 0:
        raise UserError(
            f"{unlabelled[0]} gives arms without a teacher fewer examples, and so fewer steps in an epoch; say "
            "trainer.max_steps=N, the same for all."
        )
    if cfg.trainer.load_best_model_at_end:
        raise UserError(
            "trainer.load_best_model_at_end=true lets the validation split choose, which is reported; leave it out."
        )


def _keys(override: str) -> Iterator[str]:
    """Yield the options that an override gives values to: those in it where it gives several, {a: 1, b: {c: 2}}."""
    parsed = OverridesParser.create().parse_override(override)
    if not parsed.is_delete():
        yield from _flat(parsed.key_or_group, parsed.value())


def _flat(key: str, value: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        yield key
        return
    for name, inner in value.items():
        yield from _flat(f"{key}.{name}", inner)
