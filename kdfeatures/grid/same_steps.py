"""An arm in stages trains as long as any other: its stages share the steps of a run and take the rate that is tried."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser

from kdfeatures.commands import distill
from kdfeatures.grid.cell import compose

RATE = "${trainer.learning_rate}"


def same_steps(overrides: Sequence[str]) -> list[str]:
    """Return the overrides that do so; none for an arm without stages.

    A stage with one stage for each layer counts as so many. What `overrides` say of a stage themselves stays as it is.
    """
    cfg = compose("distill", overrides)
    if not cfg.stages:
        return []
    stages = len(distill.check(cfg, Path("unused")))
    wanted = {"learning_rate": RATE, "num_train_epochs": f"{cfg.trainer.num_train_epochs / stages:g}"}
    if cfg.trainer.max_steps > 0:
        wanted["max_steps"] = str(max(1, cfg.trainer.max_steps // stages))
    given = {key for override in overrides for key in _keys(override)}
    options = {f"stages.{name}.trainer.{option}": value for name in cfg.stages for option, value in wanted.items()}
    return [f"++{key}={value}" for key, value in options.items() if key not in given]


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
