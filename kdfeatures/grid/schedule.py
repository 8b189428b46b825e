"""The order of a grid's runs: a task's teacher, then for each arm the choice of a learning rate, then all seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdfeatures.commands.inputs import SELECTION
from kdfeatures.errors import UserError
from kdfeatures.grid.arms import arms_of
from kdfeatures.grid.cell import PLAN, Cell, compose
from kdfeatures.grid.settings import Settings, key_of
from kdfeatures.models import load_config

TEACHER = "teacher"
EXPORT = "export"  # in a student's folder


@dataclass(frozen=True)
class Unit:
    """The runs of one arm on one task; teacher is the run that must be there first, or None."""

    task: str
    arm: str
    teacher: Cell | None
    trials: tuple[Cell, ...]
    runs: dict[float, tuple[Cell, ...]]  # by learning rate: those of one rate will be run
    is_exported: bool = False

    def stages(self) -> Iterator[tuple[Cell, ...]]:
        """Yield runs that can be run in any order; what comes next is known once they are finished."""
        if self.teacher is not None:
            yield (self.teacher,)
        if self.trials:
            yield self.trials
        yield self.chosen
        yield self.exports

    @property
    def learning_rate(self) -> float | None:
        """The rate with the best score on held-out training examples, the smaller of equals; None until it is known."""
        if not self.trials:
            return next(iter(self.runs))
        if not all(cell.is_finished for cell in self.trials):
            return None
        return max(sorted(self.trials, key=lambda cell: cell.learning_rate), key=_score).learning_rate

    @property
    def chosen(self) -> tuple[Cell, ...]:
        """The runs over all seeds; none before the learning rate is known."""
        rate = self.learning_rate
        return () if rate is None else self.runs[rate]

    @property
    def exports(self) -> tuple[Cell, ...]:
        """What writes and scores each finished student as ONNX and int8; none where that is not asked for."""
        return tuple(_exporting(cell) for cell in self.chosen if cell.is_finished) if self.is_exported else ()

    @property
    def planned(self) -> int:
        """How many runs there will be, the teacher's aside."""
        return len(self.trials) + len(next(iter(self.runs.values()))) * (2 if self.is_exported else 1)


def units_of(settings: Settings, output_dir: Path) -> list[Unit]:
    """Return the units of a grid, task by task; raises UserError for a teacher that is not there and cannot be made."""
    found, missing = [], []
    for task in settings.grid.tasks:
        folder = settings.root / task
        is_given = (folder / "config.json").exists() and not (folder / PLAN).exists()
        teacher = None if is_given else _finetuning(settings, task, folder)
        is_there = teacher is None or teacher.is_finished
        if not is_there and settings.encoder is None and compose("finetune", [f"task={task}"]).task.embedded is None:
            missing.append(task)
            continue
        arms = arms_of(settings, task, str(folder) if is_there else settings.encoder)
        found += [_unit(settings, task, arm, own, teacher, output_dir) for arm, own in arms.items()]
    if missing:
        raise UserError(
            f"teacher.root={settings.root} has no folder {', '.join(missing)}; leave them out of tasks, or give "
            "model.path=FOLDER_OR_HUB_ID of an encoder to fine-tune."
        )
    if settings.encoder is not None:
        load_config(settings.encoder, "model.path")
    return found


def _unit(
    settings: Settings, task: str, arm: str, overrides: Sequence[str], teacher: Cell | None, output_dir: Path
) -> Unit:
    grid = settings.grid
    path = f"teacher.path='{settings.root / task}'"
    name = arm.replace(",", "").replace(" ", "_").replace("/", "_")

    def cell(folder: Path, seed: int, rate: float, *more: str) -> Cell:
        own = (f"task={task}", path, *overrides, f"seed={seed}", f"trainer.learning_rate={rate}", *more)
        return Cell("distill", own, folder, task, arm, seed, rate)

    trials: list[Cell] = []
    if len(grid.learning_rates) > 1:
        place, held = output_dir / "trials" / task / name, f"data.held_out={grid.held_out}"
        trials = [
            cell(place / f"learning_rate-{rate:g}", grid.seeds[0], rate, held, f"split={SELECTION}")
            for rate in grid.learning_rates
        ]
    place = output_dir / "runs" / task / name
    runs = {
        rate: tuple(cell(place / f"learning_rate-{rate:g}" / f"seed-{seed}", seed, rate) for seed in grid.seeds)
        for rate in grid.learning_rates
    }
    return Unit(task, arm, teacher, tuple(trials), runs, is_exported=grid.export and arm in grid.recipes)


def _finetuning(settings: Settings, task: str, folder: Path) -> Cell:
    """The teacher's own run, on the data of the students; all else is what `finetune` says."""
    data = _of_data([*settings.shared, *settings.grid.per_task.get(task, [])])
    seed = settings.grid.seeds[0]
    model = [] if settings.encoder is None else [f"model.path='{settings.encoder}'"]
    overrides = (f"task={task}", *model, *data, f"seed={seed}", *settings.grid.finetune)
    return Cell("finetune", overrides, folder, task, TEACHER, seed)


def _of_data(overrides: Iterable[str]) -> list[str]:
    """Return the overrides of what a model is trained and scored on."""
    return [one for one in overrides if key_of(one).split(".")[0] in ("data", "split")]


def _exporting(cell: Cell) -> Cell:
    overrides = (f"task={cell.task}", f"model.path='{cell.folder}'", *_of_data(cell.overrides))
    return Cell("export", overrides, cell.folder / EXPORT, cell.task, cell.arm, cell.seed)


def _score(cell: Cell) -> float:
    results = cell.results()
    return results["student"]["metrics"][SELECTION][results["metric"]]
