"""kdfeatures glue: teachers, students of all arms and seeds on all tasks, and one table; goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kdfeatures.benchmark.grid_run import GridRun, compose
from kdfeatures.benchmark.progress import Progress
from kdfeatures.benchmark.report import Report
from kdfeatures.benchmark.schedule import ArmSchedule, schedule_arms
from kdfeatures.benchmark.settings import GridRunSettings, read_grid
from kdfeatures.benchmark.submission.from_grid import check_grid_submission, submit
from kdfeatures.config.load import task_of
from kdfeatures.config.options import DistillOptions, options
from kdfeatures.config.paths import NOWHERE
from kdfeatures.config.schema import plain_config, section
from kdfeatures.data.load import DATA_SEED, load_task, split_of
from kdfeatures.data.settings import DataSettings
from kdfeatures.errors import UserError
from kdfeatures.models.export.requirements import require_packages
from kdfeatures.runs.results import write_results

PATIENCE = 5.0  # seconds between two looks at runs that other processes are at


def check(cfg: DictConfig) -> None:
    """Raise UserError for what `run` would refuse by the grid's own options, and by those of a run in it."""
    given = plain_config(cfg, NOWHERE)
    options(given, DistillOptions)
    read_grid(given)


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Run all that is missing, broken runs once more, and write table.md, table.csv, plot.png and results.json.

    Several processes may work on one folder: each run is one's. Raises UserError at the end when runs broke off, and
    names them; all others are in the table by then.
    """
    if cfg.existing != "resume":
        raise UserError(
            f"existing={cfg.existing}: a grid goes on where it was; for another, choose another output_dir."
        )
    settings = GridRunSettings.read(cfg, list(HydraConfig.get().overrides.task), output_dir)
    units = schedule_arms(settings, output_dir)
    check_units(units, settings, cfg, output_dir)
    runs = sum(unit.planned for unit in units)
    print(f"{len(settings.grid.tasks)} tasks, {len(units) // len(settings.grid.tasks)} arms: {runs} runs.", flush=True)
    report = Report(units, settings, cfg, output_dir)
    broken = run_all(units, report)
    results = {"command": "glue"} | (report.finish() or {})
    write_results(output_dir, results)
    if broken:
        raise UserError(
            f"{len(broken)} of {runs} runs broke off; error.txt in each folder says why, and the next call tries them "
            f"again: {', '.join(str(cell.folder) for cell in broken)}"
        )
    if settings.grid.submission is not None:
        results["submission"] = submit(units, settings, cfg, output_dir)
        write_results(output_dir, results)
    return results


def check_units(units: Sequence[ArmSchedule], settings: GridRunSettings, cfg: DictConfig, output_dir: Path) -> None:
    """Raise UserError for what would stop a run: settings that changed since it began, data that are not there."""
    if settings.grid.export:
        require_packages()
    data = section(plain_config(cfg, output_dir), "data", DataSettings)
    for name in settings.grid.tasks:
        task = task_of(plain_config(compose("distill", [f"task={name}"]), output_dir))
        raw = load_task(task, data.path, revision=data.revision, seed=DATA_SEED)
        for split in ("train", cfg.split):
            split_of(raw, task, split)
    if settings.grid.submission is not None:
        check_grid_submission(units, settings, cfg, output_dir)
    for unit in units:
        for cell in (*unit.trials, *(cell for runs in unit.runs.values() for cell in runs)):
            cell.check()
    for cell in {cell for unit in units for cell in unit.teachers}:
        cell.check()


def run_all(units: Sequence[ArmSchedule], report: Report) -> list[GridRun]:
    """Run what is missing, and return the runs that broke off; waits for those that other processes are at."""
    progress = Progress(units)
    tried: dict[Path, tuple[ArmSchedule, GridRun]] = {}
    while True:
        waiting = [_advance(unit, tried, progress, report) for unit in units]
        if not any(waiting):
            return [cell for unit, cell in tried.values() if not unit.is_done(cell)]
        time.sleep(PATIENCE)


def _advance(
    unit: ArmSchedule, tried: dict[Path, tuple[ArmSchedule, GridRun]], progress: Progress, report: Report
) -> bool:
    """Run what can be run of a unit and was not tried; return whether another process is at some of it."""
    busy = False
    for stage in unit.stages():
        for cell in stage:
            if unit.is_done(cell) or cell.folder in tried:
                continue
            start = time.monotonic()
            if not cell.run():
                busy = True
                continue
            tried[cell.folder] = unit, cell
            print(progress.line(cell, time.monotonic() - start), flush=True)
            report.update()
        if not all(unit.is_done(cell) for cell in stage):
            break  # what comes next needs these
    return busy
