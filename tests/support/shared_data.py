"""The tasks of conf/, and real data beside the checkout: tests skip, saying so, without it."""

from pathlib import Path

import pytest
import yaml

from kdfeatures.tasks.task import Task

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "conf" / "task"
SHARED = ROOT.parent / "shared"


def task_config(name: str) -> dict:
    """Return the plain content of conf/task/<name>.yaml."""
    return yaml.safe_load((TASKS / f"{name}.yaml").read_text(encoding="utf-8"))


def glue_task(name: str) -> Task:
    """Return the GLUE task of conf/task/<name>.yaml."""
    return Task.from_config(task_config(name))


def glue_folder() -> Path:
    """Return the folder of the GLUE parquet files."""
    folder = SHARED / "glue"
    if not folder.is_dir():
        pytest.skip("no GLUE files at ../shared/glue beside the checkout")
    return folder
