"""The zip for the GLUE server, from the students of a grid's first recipe and first seed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock
from omegaconf import DictConfig

from kdfeatures.benchmark.schedule import ArmSchedule
from kdfeatures.benchmark.settings import Settings
from kdfeatures.benchmark.submission.files import FILES
from kdfeatures.benchmark.submission.predict import predict_submission, submission_text, test_splits
from kdfeatures.benchmark.submission.write import check_target, from_sample
from kdfeatures.config.schema import DataConfig, section
from kdfeatures.files import write_whole

LOCK = ".submission.lock"
WRITTEN = "submission.json"  # in the grid's folder: the zip that it wrote, which it may write again


def check_submission(units: Sequence[ArmSchedule], settings: Settings, cfg: DictConfig, output_dir: Path) -> None:
    """Raise UserError before anything runs for a zip that is not the grid's own, a bad sample and bad test splits."""
    grid = settings.grid
    check_target(Path(grid.submission), overwrite=_is_own(settings, output_dir))
    _, missing = test_splits(_tasks(units, settings), section(cfg, "data", DataConfig))
    if grid.sample is not None:
        answered = _tasks(units, settings)
        from_sample(
            Path(grid.sample), [one.name for one in FILES if one.trained_on not in answered or one.name in missing]
        )


def submit(units: Sequence[ArmSchedule], settings: Settings, cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Write the zip, and return what is in it; all its students are finished."""
    with FileLock(output_dir / LOCK):  # several processes may end a grid at the same time
        return _submit(units, settings, cfg, output_dir)


def _submit(units: Sequence[ArmSchedule], settings: Settings, cfg: DictConfig, output_dir: Path) -> dict[str, Any]:
    grid = settings.grid
    students = {unit.task: unit.chosen[0] for unit in units if unit.arm == grid.recipes[0]}
    answered = _tasks(units, settings)
    found = predict_submission(
        {task: str(cell.folder) for task, cell in students.items() if task in answered},
        section(cfg, "data", DataConfig),
        Path(grid.submission),
        lengths={task: cell.config().data.max_length for task, cell in students.items()},
        batch_size=cfg.trainer.per_device_eval_batch_size,
        sample=None if grid.sample is None else Path(grid.sample),
        overwrite=_is_own(settings, output_dir),
    )
    write_whole(output_dir / WRITTEN, json.dumps({"file": _name(settings)}))
    print(f"\n{submission_text(found)}")
    return found


def _tasks(units: Sequence[ArmSchedule], settings: Settings) -> list[str]:
    """Return the grid's tasks that the server scores; generated ones and files of one's own are none."""
    scored = {one.trained_on for one in FILES}
    return [unit.task for unit in units if unit.arm == settings.grid.recipes[0] and unit.task in scored]


def _is_own(settings: Settings, output_dir: Path) -> bool:
    file = output_dir / WRITTEN
    return file.exists() and json.loads(file.read_text(encoding="utf-8"))["file"] == _name(settings)


def _name(settings: Settings) -> str:
    return str(Path(settings.grid.submission).resolve())
