"""What is checked of a call before its first job starts: every job is composed, and its options are read.

So a mistyped override, or one that the last job of a sweep would be refused for, is one line and costs nothing.
"""

from __future__ import annotations

import argparse
import atexit
import functools
import gc
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import hydra
from hydra._internal.hydra import Hydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.cli.refusals import existing_root
from kdfeatures.cli.spoken import quiet_libraries
from kdfeatures.cli.sweeps import EXCLUDED, Sweep, is_sweep, sweep_of
from kdfeatures.cli.task_choice import RunTask, task_of_run
from kdfeatures.cli.trust import check_hydra_node
from kdfeatures.config.compose import check_allow_targets, check_seed
from kdfeatures.config.hydra_errors import explained
from kdfeatures.config.paths import check_folder
from kdfeatures.errors import UserError
from kdfeatures.training.distributed import check_processes

# from a job's overrides to its config, the same as plain data with its references, and likewise the node `hydra`
Composed = Callable[..., tuple[DictConfig, dict[str, Any], dict[str, Any]]]
WITHOUT_SWEEPS = {
    "explain": "reports on one run at a time",
    "glue": "is a sweep by itself, such as seed=1,2,3",
    "search": "is a sweep by itself, such as seed=1,2,3",
}


class CheckedCall(NamedTuple):
    """Jobs that can start. overrides: of the call, with the task of the run whose model it is about.

    sweep: None for a single job. before: the folder of a single job, or the nearest above it that is there now. of_run:
    what was taken from a run.
    """

    overrides: list[str]
    sweep: Sweep | None
    before: Path | None
    of_run: RunTask | None


def check_call(made: Hydra, command: str, arguments: argparse.Namespace) -> CheckedCall:
    """Compose every job that a command's line asks for, and check its options. Raises UserError for the first bad one.

    Of a sweep whose jobs are chosen as it goes, samples are checked.
    """
    overrides, sweep = list(arguments.overrides), None
    # the last one alone: a single job is asked for three times, and the configs of a large sweep would fill the memory
    composed: Composed = functools.lru_cache(maxsize=1)(lambda *job: _composed(command, job))
    if arguments.multirun or _asks_for_sweep(made, command, overrides, composed):
        if command in WITHOUT_SWEEPS:
            raise UserError(f"kdfeatures {command} {WITHOUT_SWEEPS[command]}; leave out -m.")
        sweep = _sweep(made, command, overrides)
        if arguments.cfg and not sweep.is_whole:
            raise UserError("--cfg cannot show jobs that a sweeper chooses as it goes; leave out -m and say one value.")
    jobs = [overrides] if sweep is None else sweep.jobs
    is_named = any(text.lstrip("+~").partition("=")[0].split("@")[0] == "task" for text in overrides)
    of_run = None if is_named else _of_runs(command, jobs, composed)
    if of_run is not None:
        overrides = [*of_run.overrides, *overrides]
        jobs = [[*of_run.overrides, *job] for job in jobs]
        sweep = None if sweep is None else _sweep(made, command, overrides)
    pushed: set[str] = set()
    before = None
    for job in jobs:
        cfg, unresolved, node = composed(*job)
        allowed = unresolved["allow_targets"]
        check_allow_targets(allowed, given=any(text.lstrip("+").startswith("allow_targets=") for text in job))
        check_hydra_node(command, job, node, allowed)
        folder = unresolved["output_dir"]  # it may name the time
        _check_common(cfg, folder)
        if folder is not None and sweep is None:
            # before the libraries of the command are imported
            _check_output(Path(folder), unresolved)
        check_processes(command, arguments.overrides, folder)
        if sweep is None or sweep.is_whole:
            _check_upload(cfg, len(jobs), pushed)
        if not arguments.shows_only:
            module_of(command).check(cfg)
        if sweep is None and folder is not None:
            before = existing_root(_resolved(cfg, folder))
    if sweep is not None and not any(text.lstrip("+").startswith(EXCLUDED) for text in overrides):
        overrides.append(sweep.naming)
    return CheckedCall(overrides, sweep, before, of_run)


def module_of(command: str) -> Any:
    """The module of a command. Its import takes seconds, so not before the command's line is read."""
    module = _imported(f"kdfeatures.cli.commands.{command}")
    quiet_libraries()
    return module


def _imported(name: str) -> Any:
    """Return a module that is imported with torch and transformers, if it is not there yet."""
    if name in sys.modules:
        return sys.modules[name]
    collects = gc.isenabled()
    gc.disable()  # an import makes millions of objects and no garbage; looking for it takes a fifth of the time
    try:
        importlib.import_module(name)
    finally:
        if collects:
            gc.enable()
    gc.freeze()  # nor need the Trainer look through them, which begins with gc.collect()
    atexit.register(gc.unfreeze)  # or triton reports what is frozen as leaked
    return sys.modules[name]


def _asks_for_sweep(made: Hydra, command: str, overrides: list[str], composed: Composed) -> bool:
    """Whether the config itself asks for a sweep, by hydra.mode."""
    try:
        mode: RunMode | None = composed(*overrides)[2]["mode"]
    except UserError:  # a mistake, or values such as seed=1,2, which a single job cannot have
        return is_sweep(made, command, overrides)
    return mode == RunMode.MULTIRUN


def _sweep(made: Hydra, command: str, overrides: list[str]) -> Sweep:
    try:
        return sweep_of(made, command, overrides)
    except UserError:
        raise
    except Exception as error:  # as in _composed
        raise UserError(explained(error, command, overrides)) from error


def _composed(command: str, overrides: Sequence[str]) -> tuple[DictConfig, dict[str, Any], dict[str, Any]]:
    """Return what `Composed` says. Raises UserError for a line that Hydra refuses."""
    try:
        cfg = hydra.compose(command, list(overrides), return_hydra_config=True)
    except Exception as error:  # ValueError: task=null; TypeError: mapping=[1]; none is more than a wrong line
        raise UserError(explained(error, command, overrides)) from error
    unresolved: Any = OmegaConf.to_container(cfg)
    with open_dict(cfg):
        del cfg["hydra"]
    node = unresolved.pop("hydra")
    return cfg, unresolved, node


def _of_runs(command: str, jobs: Sequence[Sequence[str]], composed: Composed) -> RunTask | None:
    """Return what the runs of the jobs' models were about. Raises UserError where they differ, or none says it."""
    runs: list[RunTask | None] = []
    for job in jobs:
        _, config, node = composed(*job)
        runs.append(task_of_run(command, config, node["runtime"]["choices"].get("task")))
    for other in runs[1:]:
        if (other and other.overrides) != (runs[0] and runs[0].overrides):
            both = " and ".join("none" if run is None else f"{run.option} ({run.text})" for run in (runs[0], other))
            raise UserError(
                f"the models were not trained for one task: {both}; say task=NAME, or score them one by one."
            )
    return runs[0]


def _resolved(cfg: DictConfig, folder: str) -> str:
    """Return the folder with what it refers to, such as `${runs}`; as it is where only Hydra's job knows that."""
    try:
        return str(cfg.output_dir)
    except OmegaConfBaseException:
        return folder


def _check_upload(cfg: DictConfig, jobs: int, pushed: set[str]) -> None:
    """Raise UserError when several jobs would be uploaded to one repository."""
    repository = cfg.get("push_to_hub")
    if repository is None:
        return
    if repository in pushed:
        raise UserError(f"push_to_hub={repository}: {jobs} jobs would overwrite each other there; push one of them.")
    pushed.add(repository)


def _check_output(folder: Path, config: dict[str, Any]) -> None:
    if folder.is_dir():  # or nothing is lost, and the import takes seconds
        _imported("kdfeatures.runs.folder")  # which brings torch and transformers, as the command will
        from kdfeatures.runs.folder import reads_of, refuse_run
        from kdfeatures.runs.manifest import check_unlike

        check_unlike(folder, reads_of(config), replace=config["existing"] == "overwrite")
        if config["existing"] == "refuse":
            refuse_run(folder)


def _check_common(cfg: DictConfig, folder: str | None) -> None:
    check_seed(cfg.seed)
    if folder is not None and not isinstance(folder, str):
        raise UserError(
            f"output_dir={folder} must be a folder's name; one like a number in quotes: \"output_dir='1'\"."
        )
    if folder is not None and not folder.strip():
        raise UserError("output_dir is empty; name a folder.")
    if "runs" in cfg and not (isinstance(cfg.runs, str) and Path(cfg.runs).is_dir()):
        raise UserError(f"runs={cfg.runs} is no folder; say which runs to compare, kdfeatures compare DIR.")
    if folder is None:
        return
    if "\\${" in folder:
        raise UserError(f"output_dir={folder}: Hydra takes no folder with ${{ in its name; choose another one.")
    # Hydra makes the folder before the job starts; what stands in its way would be a traceback
    check_folder(Path(folder), f"output_dir={folder}")
