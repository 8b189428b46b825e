"""The zip for the GLUE server, from the students of a grid's first recipe and first seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig

from kdfeatures.benchmark.schedule import ArmSchedule
from kdfeatures.benchmark.settings import GridRunSettings
from kdfeatures.benchmark.submission.files import FILES
from kdfeatures.benchmark.submission.predict import predict_submission, submission_text, test_splits
from kdfeatures.benchmark.submission.write import check_target, from_sample
from kdfeatures.config.schema import plain_config, section
from kdfeatures.data.settings import DataSettings
from kdfeatures.files import write_whole

LOCK = ".submission.lock"
WRITTEN = "submission.json"  # in the grid's folder: the zip that it wrote, which it may write again


def check_grid_submission(
    units: Sequence[ArmSchedule], settings: GridRunSettings, cfg: DictConfig, output_dir: Path
) -> None:
    """Raise UserError before anything runs for a zip that is not the grid's own, a bad sample and bad test splits."""
    grid = settings.grid
    check_target(_file(settings), overwrite=_is_from_grid(settings, output_dir))
    _, missing = test_splits(_tasks(units, settings), section(plain_config(cfg, output_dir), "data", DataSettings))
    if grid.sample is not None:
        answered = _tasks(units, settings)
        from_sample(
            Path(grid.sample), [part.name for part in FILES if part.trained_on not in answered or part.name in missing]
        )


def submit(
    units: Sequence[ArmSchedule], settings: GridRunSettings, cfg: DictConfig, output_dir: Path
) -> dict[str, Any]:
    """Write the zip, and return what is in it; all its students are finished."""
    with FileLock(output_dir / LOCK):  # several processes may end a grid at the same time
        return _submit(units, settings, cfg, output_dir)


def _submit(
    units: Sequence[ArmSchedule], settings: GridRunSettings, cfg: DictConfig, output_dir: Path
) -> dict[str, Any]:
    grid = settings.grid
    students = {unit.task: unit.chosen[0] for unit in units if unit.arm == grid.recipes[0]}
    answered = _tasks(units, settings)
    submission = predict_submission(
        {task: str(cell.folder) for task, cell in students.items() if task in answered},
        section(plain_config(cfg, output_dir), "data", DataSettings),
        _file(settings),
        lengths={task: cell.config().data.max_length for task, cell in students.items()},
        batch_size=cfg.trainer.per_device_eval_batch_size,
        sample=None if grid.sample is None else Path(grid.sample),
        overwrite=_is_from_grid(settings, output_dir),
    )
    write_whole(output_dir / WRITTEN, json.dumps({"file": _name(settings)}))
    print(f"\n{submission_text(submission)}")
    return submission


def _tasks(units: Sequence[ArmSchedule], settings: GridRunSettings) -> list[str]:
    """Return the grid's tasks that the server scores; generated ones and files of one's own are none."""
    scored = {part.trained_on for part in FILES}
    return [unit.task for unit in units if unit.arm == settings.grid.recipes[0] and unit.task in scored]


def _is_from_grid(settings: GridRunSettings, output_dir: Path) -> bool:
    file = output_dir / WRITTEN
    return file.exists() and json.loads(file.read_text(encoding="utf-8"))["file"] == _name(settings)


def _name(settings: GridRunSettings) -> str:
    return str(_file(settings).resolve())


def _file(settings: GridRunSettings) -> Path:
    """Return the zip of a grid that writes one."""
    assert settings.grid.submission is not None
    return Path(settings.grid.submission)
