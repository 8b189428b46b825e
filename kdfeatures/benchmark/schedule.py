"""The order of a grid's runs: a task's teacher, then for each arm the choice of a learning rate, then all seeds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from kdfeatures.benchmark.arms import arms_of
from kdfeatures.benchmark.grid_run import PLAN, GridRun, compose
from kdfeatures.benchmark.settings import TEACHER, GridRunSettings
from kdfeatures.benchmark.trial_teachers import TrialTeacher, trial_teacher
from kdfeatures.config.compose import key_of, quoted
from kdfeatures.data.inputs import SELECTION
from kdfeatures.errors import UserError
from kdfeatures.models.configs import load_config
from kdfeatures.runs.arms import folder_of_arm
from kdfeatures.runs.folder import is_finished

EXPORT = "export"  # in a student's folder


@dataclass(frozen=True)
class ArmSchedule:
    """The runs of one arm on one task; teachers are runs that must be there first: the students' and the trials'."""

    task: str
    arm: str
    teachers: tuple[GridRun, ...]
    trials: tuple[GridRun, ...]
    runs: dict[float, tuple[GridRun, ...]]  # by learning rate: those of one rate will be run
    is_exported: bool = False
    teacher_saw_trials: bool = False
    searched: int = 0  # trials of a search that came before, which are no runs of the grid

    def stages(self) -> Iterator[tuple[GridRun, ...]]:
        """Yield runs that can be run in any order; what comes next is known once they are finished."""
        if self.teachers:
            yield self.teachers
        if self.trials:
            yield self.trials
        yield self.chosen
        yield self.exports

    @property
    def learning_rate(self) -> float | None:
        """The rate with the best score on held-out training examples, the smaller of equals; None until it is known.

        A rate with which the student diverged is the worst.
        """
        if not self.trials:
            return next(iter(self.runs))
        scored = [cell for cell in self.trials if cell.is_finished]
        if not scored or not all(cell.is_settled for cell in self.trials):
            return None
        return max(sorted(scored, key=_rate), key=_score).learning_rate

    def is_done(self, cell: GridRun) -> bool:
        """True for a run that is finished, and for a trial that diverged where another tells which rate to take."""
        if cell.is_finished:
            return True
        return cell in self.trials and cell.is_settled and any(trial.is_finished for trial in self.trials)

    @property
    def chosen(self) -> tuple[GridRun, ...]:
        """The runs over all seeds; none before the learning rate is known."""
        rate = self.learning_rate
        return () if rate is None else self.runs[rate]

    @property
    def exports(self) -> tuple[GridRun, ...]:
        """What writes and scores each finished student as ONNX and int8; none where that is not asked for."""
        return tuple(_exporting(cell) for cell in self.chosen if cell.is_finished) if self.is_exported else ()

    @property
    def planned(self) -> int:
        """How many runs there will be, those of teachers aside."""
        return len(self.trials) + len(next(iter(self.runs.values()))) * (2 if self.is_exported else 1)


def schedule_arms(settings: GridRunSettings, output_dir: Path) -> list[ArmSchedule]:
    """Return the units of a grid, task by task; raises UserError for a teacher that is not there and cannot be made."""
    missing = [
        task for task in settings.grid.tasks if not _has_teacher(settings, task) and not _can_finetune(settings, task)
    ]
    if missing:
        raise UserError(
            f"teacher.root={settings.root} has no folder {', '.join(missing)}; leave them out of tasks, or give "
            "model.path=FOLDER_OR_HUB_ID of an encoder to fine-tune."
        )
    if settings.encoder is not None:
        load_config(settings.encoder, "model.path")
    return [unit for task in settings.grid.tasks for unit in _units(settings, task, output_dir)]


class TeacherRuns(NamedTuple):
    """What makes the teacher of a task's students and that of its trials, as far as they are to be made."""

    runs: tuple[GridRun, ...]
    of_trials: TrialTeacher


def teacher_runs(settings: GridRunSettings, task: str, output_dir: Path, *, for_trials: bool) -> TeacherRuns:
    """Return the runs of a task's teachers. for_trials: whether there are trials, and so one that has not seen them."""
    folder = settings.root / task
    is_given = _has_teacher(settings, task) and (settings.has_teachers or not (folder / PLAN).exists())
    runs = () if is_given else (_finetuning(settings, task, folder),)
    if not for_trials:
        return TeacherRuns(runs, TrialTeacher(folder, None, has_seen=False))
    held = _finetuning(settings, task, _trials_folder(output_dir, task) / TEACHER, trial_data(settings))
    of_trials = trial_teacher(settings, task, held, folder)
    return TeacherRuns(runs if of_trials.run is None else (*runs, of_trials.run), of_trials)


def chosen_arm(
    settings: GridRunSettings,
    task: str,
    arm: str,
    overrides: Sequence[str],
    rate: float,
    output_dir: Path,
    *,
    searched: int,
) -> ArmSchedule:
    """Return an arm that so many trials have found, its learning rate too: all seeds, by the students' teacher."""
    runs = tuple(
        _distilling(task, arm, overrides, settings.root / task, _runs_folder(output_dir, task), seed, rate)
        for seed in settings.grid.seeds
    )
    return ArmSchedule(task, arm, (), (), {rate: runs}, searched=searched)


def _trials_folder(output_dir: Path, task: str) -> Path:
    return output_dir / "trials" / task


def _runs_folder(output_dir: Path, task: str) -> Path:
    return output_dir / "runs" / task


def _units(settings: GridRunSettings, task: str, output_dir: Path) -> list[ArmSchedule]:
    has_trials = len(settings.grid.learning_rates) > 1
    runs, of_trials = teacher_runs(settings, task, output_dir, for_trials=has_trials)
    folder, trials = settings.root / task, _trials_folder(output_dir, task)
    arms = arms_of(settings, task, str(folder) if _has_teacher(settings, task) else settings.encoder)
    return [
        ArmSchedule(
            task,
            arm,
            runs,
            _trials(settings, task, arm, overrides, of_trials.folder, trials),
            _runs(settings, task, arm, overrides, _runs_folder(output_dir, task)),
            is_exported=settings.grid.export and arm in settings.grid.recipes,
            teacher_saw_trials=of_trials.has_seen,
        )
        for arm, overrides in arms.items()
    ]


def _trials(
    settings: GridRunSettings, task: str, arm: str, overrides: Sequence[str], teacher: Path, place: Path
) -> tuple[GridRun, ...]:
    rates, seed = settings.grid.learning_rates, settings.grid.seeds[0]
    if len(rates) == 1:
        return ()
    trial_overrides = (*overrides, *trial_data(settings))
    return tuple(_distilling(task, arm, trial_overrides, teacher, place, seed, rate) for rate in rates)


def _runs(
    settings: GridRunSettings, task: str, arm: str, overrides: Sequence[str], place: Path
) -> dict[float, tuple[GridRun, ...]]:
    grid = settings.grid
    return {
        rate: tuple(_distilling(task, arm, overrides, settings.root / task, place, seed, rate) for seed in grid.seeds)
        for rate in grid.learning_rates
    }


def _distilling(
    task: str, arm: str, overrides: Sequence[str], teacher: Path, place: Path, seed: int, rate: float
) -> GridRun:
    run_overrides = (
        f"task={task}",
        f"teacher.path={quoted(str(teacher))}",
        *overrides,
        f"seed={seed}",
        f"trainer.learning_rate={rate}",
    )
    return GridRun(
        "distill",
        run_overrides,
        place / folder_of_arm(arm) / f"learning_rate-{rate:g}" / f"seed-{seed}",
        task,
        arm,
        seed,
        rate,
    )


def _has_teacher(settings: GridRunSettings, task: str) -> bool:
    """True where a teacher is there whole: one that was given, or that a grid has finished."""
    folder = settings.root / task
    return (folder / "config.json").exists() and (is_finished(folder) or not (folder / PLAN).exists())


def _can_finetune(settings: GridRunSettings, task: str) -> bool:
    return settings.encoder is not None or compose("finetune", [f"task={task}"]).task.embedded is not None


def _finetuning(settings: GridRunSettings, task: str, folder: Path, more: Sequence[str] = ()) -> GridRun:
    """A teacher's own run, on the data of the students; all else is what `finetune` says."""
    data = _of_data([*settings.shared, *settings.grid.per_task.get(task, [])])
    seed = settings.grid.seeds[0]
    model = [] if settings.encoder is None else [f"model.path={quoted(settings.encoder)}"]
    overrides = (f"task={task}", *model, *data, f"seed={seed}", *settings.grid.finetune, *more)
    return GridRun("finetune", overrides, folder, task, TEACHER, seed)


def trial_data(settings: GridRunSettings) -> tuple[str, str]:
    """Return what keeps a share of the training examples to score trials on."""
    return f"data.held_out={settings.grid.held_out}", f"split={SELECTION}"


def _of_data(overrides: Iterable[str]) -> list[str]:
    """Return the overrides of what a model is trained and scored on."""
    return [override for override in overrides if key_of(override).split(".")[0] in ("data", "split")]


def _exporting(cell: GridRun) -> GridRun:
    overrides = (f"task={cell.task}", f"model.path={quoted(str(cell.folder))}", *_of_data(cell.overrides))
    return GridRun("export", overrides, cell.folder / EXPORT, cell.task, cell.arm, cell.seed)


def _rate(trial: GridRun) -> float:
    assert trial.learning_rate is not None
    return trial.learning_rate


def _score(cell: GridRun) -> float:
    results = cell.results()
    return results["student"]["metrics"][SELECTION][results["metric"]]
