"""kdfeatures search: trials on held-out training examples, then the best one with fresh seeds beside hand-made arms."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kdfeatures.benchmark.grid_run import GridRun
from kdfeatures.benchmark.report import Report
from kdfeatures.benchmark.schedule import chosen_arm, schedule_arms, teacher_runs, trial_data
from kdfeatures.benchmark.search.outcome import Outcome, trials_csv
from kdfeatures.benchmark.search.settings import SearchSettings, check_tasks
from kdfeatures.benchmark.search.study import import_optuna, open_study
from kdfeatures.benchmark.search.trials import Trials
from kdfeatures.benchmark.settings import GridRunSettings
from kdfeatures.cli.commands import glue
from kdfeatures.cli.commands.glue import PATIENCE, check_units, run_all
from kdfeatures.config.compose import key_of, quoted
from kdfeatures.config.paths import NOWHERE
from kdfeatures.config.schema import plain_config
from kdfeatures.errors import UserError
from kdfeatures.files import write_whole
from kdfeatures.runs.plots import shares_plot
from kdfeatures.runs.results import write_results

ARM = "search"  # the best trial's, in tables
STUDY = "search"  # the folder of the trials
RATE = "trainer.learning_rate"


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by its options."""
    import_optuna()
    glue.check(cfg)
    given = plain_config(cfg, NOWHERE)
    SearchSettings.read(given)
    check_tasks(given["tasks"])


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Make all trials, then the runs of the best one and of the arms beside it; goes on where it was.

    Writes trials.csv, importance.png and search.md, and what a grid writes. Several processes may work on one folder.
    """
    if cfg.existing != "resume":
        raise UserError(
            f"existing={cfg.existing}: a search goes on where it was; for another, choose another output_dir."
        )
    given = [text for text in HydraConfig.get().overrides.task if key_of(text).split(".")[0] != "search"]
    settings, search = GridRunSettings.read(cfg, given, output_dir), SearchSettings.read(plain_config(cfg, output_dir))
    (task,) = settings.grid.tasks
    units = schedule_arms(settings, output_dir)
    check_units(units, settings, cfg, output_dir)
    teachers = teacher_runs(settings, task, output_dir, for_trials=True)
    trials = _trials(settings, search, task, teachers.of_trials.folder, output_dir)
    trials.check()
    for teacher in teachers.runs:
        _make(teacher)
    while trials.run():
        time.sleep(PATIENCE)  # until those of other processes have ended, or are left to this one
    outcome = Outcome.of(trials.study)
    count, arm = sum(outcome.counts.values()), _arm_of(outcome, settings, task)
    units = [*units, chosen_arm(settings, task, ARM, *arm, output_dir, searched=count)]
    report = Report(units, settings, cfg, output_dir)
    broken = run_all(units, report)
    command = _command(task, settings, arm)
    held_out = f"{100 * settings.grid.held_out:g}% of the training examples"
    text = outcome.text(task, held_out, command, has_seen=teachers.of_trials.has_seen)
    write_whole(output_dir / "trials.csv", trials_csv(trials.study))
    write_whole(output_dir / "search.md", f"{text}\n")
    if outcome.importance:
        shares_plot(outcome.importance, "share in what varies between trials (%)", output_dir / "importance.png")
    print(f"\n{text}")
    results = {"command": "search", "task": task, "search": asdict(outcome)} | (report.finish() or {})
    write_results(output_dir, results)
    if broken:
        raise UserError(f"{len(broken)} runs broke off: {', '.join(str(cell.folder) for cell in broken)}")
    return results


def _make(teacher: GridRun) -> None:
    """Fine-tune a teacher, or wait until another process has. Raises UserError when that breaks off."""
    while not teacher.is_finished:
        if not teacher.run():
            time.sleep(PATIENCE)
        elif not teacher.is_finished:
            raise UserError(f"{teacher}: {teacher.failure} ({teacher.folder})")


def _trials(settings: GridRunSettings, search: SearchSettings, task: str, teacher: Path, output_dir: Path) -> Trials:
    grid, folder = settings.grid, output_dir / STUDY
    shared = [
        f"task={task}",
        f"teacher.path={quoted(str(teacher))}",
        f"{RATE}={grid.learning_rates[0]}",
        *_of_students(settings, task),
        *trial_data(settings),
    ]
    if not any(key_of(override).split(".")[0] == "cache" for override in shared):
        shared += ["cache=auto", f"cache.path={quoted(str(folder / 'cache'))}"]
    seed = max(grid.seeds) + 1  # none of those that the best is run with
    return Trials(open_study(folder, search, shared, seed), folder, search, shared, seed)


def _of_students(settings: GridRunSettings, task: str) -> list[str]:
    """Return the overrides of all students but for what a trial chooses."""
    grid = settings.grid
    return [f"recipe={grid.recipes[0]}", *settings.shared, *grid.per_task.get(task, [])]


def _arm_of(outcome: Outcome, settings: GridRunSettings, task: str) -> tuple[list[str], float]:
    """Return the best trial's overrides without its learning rate, and that."""
    rates = [text.partition("=")[2] for text in outcome.overrides if key_of(text) == RATE]
    rate = float(rates[-1]) if rates else settings.grid.learning_rates[0]
    chosen = [text for text in outcome.overrides if key_of(text) != RATE]
    return [*_of_students(settings, task), *chosen], rate


def _command(task: str, settings: GridRunSettings, arm: tuple[Sequence[str], float]) -> str:
    overrides, rate = arm
    words = [f"task={task}", f"teacher.path={quoted(str(settings.root / task))}", *overrides, f"{RATE}={rate:g}"]
    return shlex.join(["kdfeatures", "distill", *words])
