"""kdfeatures glue: teachers, students of all arms and seeds on all tasks, and one table; goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from kdfeatures.commands.inputs import DATA_SEED
from kdfeatures.config import DataConfig, section
from kdfeatures.data import load_task, split_of
from kdfeatures.errors import UserError
from kdfeatures.export.packages import require_packages
from kdfeatures.grid.cell import Cell, compose
from kdfeatures.grid.collect import means_of, rows_of
from kdfeatures.grid.model_costs import costs_table, model_costs
from kdfeatures.grid.progress import Progress
from kdfeatures.grid.schedule import Unit, units_of
from kdfeatures.grid.settings import Settings
from kdfeatures.grid.tables import details, summary, write_csv
from kdfeatures.plots import difference_plot
from kdfeatures.results import device_name, markdown, versions, write_results
from kdfeatures.submission.predict import predict_submission, submission_text
from kdfeatures.tasks import Task
from kdfeatures.whole_files import write_whole

PATIENCE = 5.0  # seconds between two looks at runs that other processes are at


def run(cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Run all that is missing, broken runs once more, and write table.md, table.csv, plot.png and results.json.

    Several processes may work on one folder: each run is one's. Raises UserError at the end when runs broke off, and
    names them; all others are in the table by then.
    """
    start = time.monotonic()
    if cfg.existing != "resume":
        raise UserError(
            f"existing={cfg.existing}: a grid goes on where it was; for another, choose another output_dir."
        )
    settings = Settings.read(cfg, list(HydraConfig.get().overrides.task), output_dir)
    units = units_of(settings, output_dir)
    _check(units, settings, cfg)
    runs = sum(unit.planned for unit in units)
    print(f"{len(settings.grid.tasks)} tasks, {len(units) // len(settings.grid.tasks)} arms: {runs} runs.", flush=True)
    broken = _run_all(units)
    results = {"command": "glue", "seconds": time.monotonic() - start} | _report(units, settings, cfg, output_dir)
    if settings.grid.submission is not None:
        results["submission"] = _submit(units, settings, cfg)
    if broken:
        raise UserError(
            f"{len(broken)} of {runs} runs broke off; error.txt in each folder says why, and the next call tries them "
            f"again: {', '.join(str(cell.folder) for cell in broken)}"
        )
    return results


def _check(units: Sequence[Unit], settings: Settings, cfg: DictConfig) -> None:
    """Raise UserError for what would stop a run: settings that changed since it began, data that are not there."""
    if settings.grid.export:
        require_packages()
    data = section(cfg, "data", DataConfig)
    for name in settings.grid.tasks:
        task = Task.from_config(OmegaConf.to_container(compose("distill", [f"task={name}"]).task))
        raw = load_task(task, data.path, seed=DATA_SEED)
        for split in ("train", cfg.split):
            split_of(raw, task, split)
    for unit in units:
        for cell in (*unit.trials, *(one for runs in unit.runs.values() for one in runs)):
            cell.check()
    for cell in {cell for unit in units for cell in unit.teachers}:
        cell.check()


def _run_all(units: Sequence[Unit]) -> list[Cell]:
    """Run what is missing, and return the runs that broke off; waits for those that other processes are at."""
    progress, tried = Progress(units), {}
    while True:
        waiting = [_advance(unit, tried, progress) for unit in units]
        if not any(waiting):
            return [cell for unit, cell in tried.values() if not unit.is_done(cell)]
        time.sleep(PATIENCE)


def _advance(unit: Unit, tried: dict[Path, tuple[Unit, Cell]], progress: Progress) -> bool:
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
        if not all(unit.is_done(cell) for cell in stage):
            break  # what comes next needs these
    return busy


def _report(units: Sequence[Unit], settings: Settings, cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    grid = settings.grid
    rows = rows_of(units, baseline=grid.baseline, resamples=grid.resamples)
    if not rows:
        return {}
    means = means_of(rows)
    lines = details(rows)
    spent = model_costs(units, grid.recipes[0], output_dir)
    parts = [summary(rows, means, grid.baseline), _caption(units, settings, cfg), markdown(lines)]
    text = "\n\n".join([*parts, *([] if spent is None else [costs_table(spent)])])
    write_whole(output_dir / "table.md", text)
    write_csv(output_dir / "table.csv", lines)
    gains = [row for row in [*rows, *({"task": "mean", **entry} for entry in means)] if row["difference"] is not None]
    if gains:
        points = [[100 * row[name] for name in ("difference", "low", "high")] for row in gains]
        difference_plot(
            [(row["task"], row["arm"], *own) for row, own in zip(gains, points, strict=True)],
            f"gain over {grid.baseline} (points), 95% interval",
            [output_dir / "plot.png", output_dir / "plot.svg"],
        )
    results = {
        "rows": [{name: value for name, value in row.items() if name != "drawn"} for row in rows],
        "means": means,
        "costs": spent,
        "versions": versions(),
        "device": device_name(),
        "config": OmegaConf.to_container(cfg, resolve=True),
    }
    write_results(output_dir, {"command": "glue", **results})
    print(f"\n{text}\n\nSaved in {output_dir}")
    return results


def _submit(units: Sequence[Unit], settings: Settings, cfg: DictConfig) -> dict[str, Any]:
    """Write the zip from the students of the first recipe's first seed."""
    grid = settings.grid
    models = {
        unit.task: str(unit.chosen[0].folder)
        for unit in units
        if unit.arm == grid.recipes[0] and unit.chosen and unit.chosen[0].is_finished
    }
    found = predict_submission(
        models,
        section(cfg, "data", DataConfig),
        Path(grid.submission),
        batch_size=cfg.trainer.per_device_eval_batch_size,
        sample=None if grid.sample is None else Path(grid.sample),
    )
    print(f"\n{submission_text(found)}")
    return found


def _caption(units: Sequence[Unit], settings: Settings, cfg: DictConfig) -> str:
    grid = settings.grid
    has_seen = list(dict.fromkeys(unit.task for unit in units if unit.teacher_saw_trials))
    rates = ", ".join(f"{rate:g}" for rate in grid.learning_rates)
    chosen = (
        f"Each arm tried the learning rates {rates} with seed {grid.seeds[0]}, scored on {100 * grid.held_out:g}% of "
        "the training examples; with the best it then took all."
        if len(grid.learning_rates) > 1
        else f"Learning rate {rates} for all arms."
    )
    if has_seen:
        chosen += (
            f" The teachers of {', '.join(has_seen)} were trained on these examples too, which favours rates that "
            "change a copied student least (teacher.trial_root takes teachers that were not)."
        )
    return (
        f"{cfg.split} scores in %, means over seeds {', '.join(map(str, grid.seeds))} ± standard deviation. {chosen} "
        f"Gains: paired bootstrap over examples and seeds. Hardware: {device_name()}."
    )
