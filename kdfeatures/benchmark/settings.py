"""What a grid is made of, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig, OmegaConf

from kdfeatures.config.compose import key_of
from kdfeatures.config.paths import conf_dir
from kdfeatures.config.schema import section
from kdfeatures.errors import UserError, nearest
from kdfeatures.ranges import MAX_COUNT, Positive, Range, Seed, Share

CONTROLS = ("hard", "pseudo", "logits", "permuted")
TEACHER = "teacher"  # the name of its runs and of their folder among the trials
PER_CELL = ("task", "recipe", "seed", "output_dir", "existing")  # what the grid sets itself
# options of the grid that are none of a run; teacher.path and the learning rate are told apart with a reason
OF_GRID = ("teacher.root", "teacher.trial_root", "model.path")


@dataclass(frozen=True)
class GridSettings:
    """The options of conf/glue.yaml that are those of no single run."""

    tasks: list[str]
    recipes: list[str]
    controls: list[str]
    arms: dict[str, list[str]]
    per_task: dict[str, list[str]]
    baseline: str
    seeds: Annotated[list[int], Seed]
    learning_rates: Annotated[list[float], Positive]
    held_out: Annotated[float, Share]
    finetune: list[str]
    export: bool
    submission: str | None
    sample: str | None
    resamples: Annotated[int, Range(10, MAX_COUNT)]


@dataclass(frozen=True)
class GridRunSettings:
    """A grid, and `shared`, the overrides that all its students take.

    root: of the teachers; has_teachers: whether they were given there. trial_root: of the teachers of trials, if given.
    encoder: what missing ones are fine-tuned from.
    """

    grid: GridSettings
    shared: tuple[str, ...]
    root: Path
    has_teachers: bool
    trial_root: Path | None
    encoder: str | None

    @classmethod
    def read(cls, cfg: DictConfig, overrides: Sequence[str], output_dir: Path) -> GridRunSettings:
        """Return the settings of a composed conf/glue.yaml. overrides: those that it was composed with.

        Raises UserError for values that cannot be, and for options of a run that the grid sets itself.
        """
        grid = read_grid({name: _plain(cfg[name]) for name in NAMES})
        shared = tuple(_shared(overrides, NAMES))
        _check_experiment(overrides, grid)
        root = output_dir / "teachers" if cfg.teacher.root is None else Path(cfg.teacher.root)
        of_trials = None if cfg.teacher.trial_root is None else Path(cfg.teacher.trial_root)
        return cls(grid, shared, root, cfg.teacher.root is not None, of_trials, cfg.model.path)


NAMES = [entry.name for entry in fields(GridSettings)]


def read_grid(config: Mapping[str, Any]) -> GridSettings:
    """Return the grid's own options of a composed config; raises UserError for values that cannot be."""
    grid = section({"": {name: config[name] for name in NAMES if name in config}}, "", GridSettings)
    _check(grid)
    return grid


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _shared(overrides: Iterable[str], names: Sequence[str]) -> Iterable[str]:
    for override in overrides:
        key = key_of(override)
        if key in OF_GRID or key.split(".")[0] in (*names, *PER_CELL, "hydra"):
            continue
        _refuse(override, "")
        yield override


def _refuse(override: str, where: str) -> None:
    """Raise UserError for what the grid decides. where: the option that holds the override, with a colon."""
    key, value = key_of(override), override.partition("=")[2]
    if key == "push_to_hub":
        raise UserError(f"{where}{override}: a grid has many students; push one with kdfeatures distill.")
    if key == "teacher.path":
        raise UserError(
            f"{where}{override}: each task has a teacher of its own; give teacher.root=FOLDER with one for each."
        )
    if key == "trainer.learning_rate":
        raise UserError(f"{where}{override}: write learning_rates=[{value}], the rates that each arm tries.")


def _check_experiment(overrides: Iterable[str], grid: GridSettings) -> None:
    """Raise UserError for an experiment with a learning rate of its own that no arm would try."""
    for override in overrides:
        if key_of(override) != "experiment":
            continue
        file = conf_dir() / "experiment" / f"{override.partition('=')[2]}.yaml"
        experiment = OmegaConf.load(file) if file.exists() else OmegaConf.create()
        rate = OmegaConf.select(experiment, "trainer.learning_rate")
        if rate is not None and rate not in grid.learning_rates:
            raise UserError(
                f"{override} has trainer.learning_rate={rate}, which learning_rates={grid.learning_rates} leave out; "
                f"give learning_rates with it, such as [{rate}]."
            )


def _check(grid: GridSettings) -> None:
    for name in ("tasks", "recipes", "seeds", "learning_rates"):
        values = getattr(grid, name)
        if not values or len(set(values)) != len(values):
            raise UserError(f"{name}={values} must name one or more, each once.")
    for where, group, wanted in (
        ("", "task", grid.tasks),
        ("", "recipe", grid.recipes),
        ("per_task: ", "task", grid.per_task),  # of more tasks than those of this call, too
    ):
        known = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
        for name in wanted:
            if name not in known:
                raise UserError(
                    f"{where}unknown {group} '{name}'{nearest(name, known)}; choose from {', '.join(known)}."
                )
    for name in grid.controls:
        if name not in CONTROLS:
            raise UserError(f"unknown control '{name}'{nearest(name, CONTROLS)}; choose from {', '.join(CONTROLS)}.")
    for name in grid.arms:
        if name in (*CONTROLS, *grid.recipes, TEACHER):
            raise UserError(f"arms.{name}: the grid has its own {name}; choose another name.")
    for option, overrides in (
        (f"{of}.{name}", overrides) for of in ("arms", "per_task") for name, overrides in getattr(grid, of).items()
    ):
        for override in overrides:
            _refuse(override, f"{option}: ")
            if key_of(override) in PER_CELL and not (key_of(override) == "recipe" and option.startswith("arms.")):
                raise UserError(f"{option}: {override}: the grid itself says {key_of(override)}; leave it out.")
