"""One run of a grid: composed, checked against what its folder holds, run once by one of several processes."""

from __future__ import annotations

import gc
import json
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hydra
from filelock import FileLock, Timeout
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.config.hydra_errors import explained
from kdfeatures.config.load import distill_settings, export_settings, finetune_settings
from kdfeatures.config.option_errors import option_line
from kdfeatures.errors import Diverged, UserError
from kdfeatures.files import write_whole
from kdfeatures.pipelines.distill import run_distillation
from kdfeatures.pipelines.export import export
from kdfeatures.pipelines.finetune import run_finetuning
from kdfeatures.runs.arms import PER_RUN
from kdfeatures.runs.config_diff import first_difference, flat
from kdfeatures.runs.folder import drop_checkpoints, is_finished
from kdfeatures.runs.results import read_results

RUN: dict[str, Callable[[DictConfig, Path], Any]] = {
    "distill": lambda cfg, folder: run_distillation(distill_settings(cfg, folder), folder),
    "finetune": lambda cfg, folder: run_finetuning(finetune_settings(cfg, folder), folder),
    "export": lambda cfg, folder: export(export_settings(cfg, folder), folder),
}
PLAN, BROKEN, DIVERGED, LOCK = "cell.json", "error.txt", "diverged.txt", ".cell.lock"


def compose(command: str, overrides: Sequence[str]) -> DictConfig:
    """Return the config of a command with these overrides; raises UserError for those that are wrong."""
    try:
        return hydra.compose(command, list(overrides))
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explained(error, command, list(overrides))) from error


@dataclass(frozen=True)
class GridRun:
    """A run of `command` in `folder`; what it is of is for tables and messages."""

    command: str
    overrides: tuple[str, ...]
    folder: Path
    task: str
    arm: str
    seed: int
    learning_rate: float | None = None

    def __str__(self) -> str:
        rate = "" if self.learning_rate is None else f", learning rate {self.learning_rate:g}"
        form = ", exported" if self.command == "export" else ""
        return f"{self.task}, {self.arm}{form}, seed {self.seed}{rate}"

    @property
    def is_finished(self) -> bool:
        return is_finished(self.folder)

    @property
    def is_settled(self) -> bool:
        """True when there is no more to learn from it: finished, or with these settings its model diverges."""
        return self.is_finished or (self.folder / DIVERGED).exists()

    @property
    def failure(self) -> str | None:
        """The last line of what ended its last run; None unless that broke off with an error."""
        error_files = [file for file in (self.folder / BROKEN, self.folder / DIVERGED) if file.exists()]
        return error_files[0].read_text(encoding="utf-8").rstrip().splitlines()[-1] if error_files else None

    def results(self) -> dict[str, Any]:
        return read_results(self.folder)

    def config(self) -> DictConfig:
        cfg = compose(self.command, self.overrides)
        with open_dict(cfg):
            cfg.output_dir, cfg.existing = str(self.folder), "resume"
        return cfg

    def check(self) -> None:
        """Raise UserError when the folder holds a run, finished or not, with other settings."""
        file = self.folder / PLAN
        if not file.exists():
            return
        then = json.loads(file.read_text(encoding="utf-8"))
        changed = first_difference(then, self._settings(), lambda name: True)
        if changed:
            raise UserError(
                f"{self.folder} was begun with {changed}; choose another output_dir, or delete the folder to run it "
                "anew."
            )

    def run(self) -> bool:
        """Run it to the end, from where it was; False when another process is at it.

        An error leaves `error.txt` in the folder, or `diverged.txt`, and is no end of the grid; the next call of the
        grid tries again. Raises UserError when the run was begun with other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.folder / LOCK, timeout=0):
                if not self.is_finished:
                    self.check()  # another process may have begun it since the grid was checked
                    self._run()
        except Timeout:
            return False
        return True

    def _run(self) -> None:
        broken, diverged = self.folder / BROKEN, self.folder / DIVERGED
        for old in (broken, diverged):
            old.unlink(missing_ok=True)
        try:
            write_whole(self.folder / PLAN, json.dumps(self._settings(), indent=2, sort_keys=True))
            RUN[self.command](self.config(), self.folder)
            drop_checkpoints(self.folder)
        except Diverged as error:
            write_whole(diverged, str(error))
        except UserError as error:
            write_whole(broken, option_line(error))
        except Exception as error:  # one run out of memory must not cost the others
            message = str(error).partition("\n")[0]
            write_whole(broken, f"{traceback.format_exc()}\n{type(error).__name__}{message and ': '}{message}")
        gc.collect()

    def _settings(self) -> dict[str, Any]:
        """All values of the config by dotted name, without those that tell runs of one arm apart."""
        cfg = self.config()
        values = flat(OmegaConf.to_container(cfg, resolve=True))
        return {name: value for name, value in values.items() if name.split(".")[0] not in (*PER_RUN, "hydra")}
