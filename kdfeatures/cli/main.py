"""The command line: `kdfeatures COMMAND [hydra overrides]`.

Every job of a call, all jobs of a sweep included, is composed before the first one starts, so that a mistyped
override is one line and costs nothing.
"""

from __future__ import annotations

import gc
import importlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.cli.arguments import jobs_of, overrides_first, parse_arguments
from kdfeatures.cli.endings import signals_in_one_line, system_errors_in_one_line
from kdfeatures.cli.help import SUMMARIES, command_help, overview
from kdfeatures.cli.refusals import HYDRA, existing_root, remove_empty, write_hydra
from kdfeatures.cli.spoken import quiet_libraries, spoken
from kdfeatures.cli.task_choice import check_task_named
from kdfeatures.cli.trust import check_hydra_node
from kdfeatures.config.compose import check_allow_targets, check_seed, quoted
from kdfeatures.config.hydra_errors import explained
from kdfeatures.config.option_errors import option_line
from kdfeatures.config.paths import check_folder, conf_dir
from kdfeatures.errors import UserError, nearest
from kdfeatures.training.distributed import check_processes, is_first, is_first_here, leave_processes

HEAD_START = 10  # seconds in which the first process on a machine reports an error that all of them meet
# what their first argument may be without a name
NAMES_A_PATH = {"compare": "runs", "submission": "file", "push": "run"}
# what `glue` has several of, and how one may say it
LISTS = {name: many for many in ("tasks", "recipes", "seeds", "learning_rates") for name in (many, many[:-1])}
NAMED = ("arms", "per_task")  # of which `glue` has what the user names

OmegaConf.register_new_resolver(
    "folder_name", lambda text: (text or "default").replace("/", "_").replace(" ", ""), replace=True
)


def main(argv: list[str] | None = None) -> None:
    """Run one command; exits with 2 and one line on stderr for anything the user can put right."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return
    if argv[0] == "--version":
        print(f"kdfeatures {version('kdfeatures')}")
        return
    command, rest = argv[0], argv[1:]
    if command in NAMES_A_PATH and rest and (Path(rest[0]).exists() or not re.match(r"-|\w+=", rest[0])):
        rest = [f"{NAMES_A_PATH[command]}={quoted(rest[0])}", *rest[1:]]
        if command == "push" and len(rest) > 1 and not re.match(r"-|\w+=", rest[1]):
            rest[1] = f"repository={quoted(rest[1])}"
    if command in ("glue", "search"):
        rest = _lists(rest)
    _quieten()
    try:
        if command not in SUMMARIES:
            raise UserError(f"unknown command '{command}'{nearest(command, SUMMARIES)}; try kdfeatures --help")
        if "--help" in rest or "-h" in rest:
            print(command_help(command))
            return
        fixed, before = check_overrides(command, rest)
    except UserError as error:
        _fail(error)
    finished: list[tuple[dict, Path]] = []
    failures: list[str] = []
    job = _job(command, fixed is not None, before, finished, failures)
    if fixed is not None:
        # a job's folder is named by what the sweep varies, not by all that was said
        rest = [*rest, f"hydra.job.config.override_dirname.exclude_keys={fixed}"]
    sys.argv = [f"kdfeatures {command}", *overrides_first(rest)]
    os.environ.setdefault("HYDRA_FULL_ERROR", "1")  # it would print what it does not understand, and exit
    try:
        with signals_in_one_line(), system_errors_in_one_line(Path() if before is None else before):
            hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(job)()
    except UserError as error:  # Hydra, too, writes to the folder
        _fail(error)
    leave_processes()
    if len(finished) > 1:
        from kdfeatures.runs.arms import without_seed
        from kdfeatures.runs.results import run_table

        results, folders = zip(*finished, strict=True)
        print(f"\n{run_table(results, [without_seed(folder.name) for folder in folders])}")
    if failures:
        sys.exit(2)


class CheckedCall(NamedTuple):
    """Jobs that can start. fixed: the keys that all jobs of a sweep share, None when it is no sweep.

    before: the folder of a single job, or the nearest above it that is there now.
    """

    fixed: list[str] | None
    before: Path | None


def check_overrides(command: str, rest: list[str]) -> CheckedCall:
    """Compose every job that `rest` asks for, and check its options. Raises UserError for the first bad one."""
    arguments = parse_arguments(rest)
    if arguments.config_dir and not Path(arguments.config_dir).is_dir():
        raise UserError(f"--config-dir={arguments.config_dir}: no such folder.")
    if arguments.multirun and command in ("explain", "glue", "search"):
        what = "reports on one run at a time" if command == "explain" else "is a sweep by itself, such as seed=1,2,3"
        raise UserError(f"kdfeatures {command} {what}; leave out -m.")
    directories = [f"hydra.searchpath=[file://{Path(arguments.config_dir).absolute()}]"] if arguments.config_dir else []
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        jobs, fixed = [arguments.overrides], None
        if arguments.multirun:
            try:
                # with the loader it knows what arm=glob(*) stands for
                reader = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
                parsed = reader.parse_overrides(arguments.overrides)
                fixed = [override.key_or_group for override in parsed if not override.is_sweep_override()]
                jobs = jobs_of(parsed)
            except HydraException as error:
                raise UserError(explained(error, command, arguments.overrides)) from error
        pushed: set[str] = set()
        before = None
        for overrides in jobs:
            try:
                cfg = hydra.compose(command, [*overrides, *directories], return_hydra_config=True)
            except Exception as error:  # ValueError: task=null; TypeError: mapping=[1]; none is more than a wrong line
                raise UserError(explained(error, command, overrides)) from error
            unresolved: Any = OmegaConf.to_container(cfg)
            with open_dict(cfg):
                del cfg["hydra"]
            allowed = unresolved["allow_targets"]
            check_allow_targets(allowed, given=any(text.lstrip("+").startswith("allow_targets=") for text in overrides))
            node = unresolved.pop("hydra")
            check_hydra_node(command, [*overrides, *directories], node, allowed)
            is_named = any(text.lstrip("+~").partition("=")[0].split("@")[0] == "task" for text in overrides)
            check_task_named(command, unresolved, node["runtime"]["choices"].get("task"), is_named=is_named)
            folder = unresolved["output_dir"]  # it may name the time
            _check_common(cfg, folder)
            if folder is not None and fixed is None:
                # Hydra would overwrite the .hydra folder of the run that is there before the job could refuse
                _check_output(Path(folder), unresolved)
            check_processes(command, arguments.overrides, folder)
            _check_upload(cfg, len(jobs), pushed)
            if not arguments.shows_only:
                _command(command).check(cfg)
            if fixed is None and folder is not None:
                before = existing_root(_resolved(cfg, folder))
    return CheckedCall(fixed, before)


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


def _lists(rest: list[str]) -> list[str]:
    """Let a grid's lists be written like those of a sweep, seed=1,2,3 for seeds=[1,2,3], and its NAMED without +."""
    overrides = []
    for text in rest:
        name, sign, values = text.partition("=")
        if sign and name.split(".")[0] in NAMED:
            text = f"++{text}"
        if not sign or name not in LISTS:
            overrides.append(text)
            continue
        values = values.strip("[]")
        if LISTS[name] == "recipes":
            overrides.append(f"recipe={values.split(',')[0]}")  # so that overrides of its terms can be composed
        overrides.append(f"{LISTS[name]}=[{values}]")
    return overrides


def _check_output(folder: Path, config: dict[str, Any]) -> None:
    if folder.is_dir():  # or nothing is lost, and the import takes seconds
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


def _job(
    command: str,
    is_sweep: bool,
    before: Path | None,
    finished: list[tuple[dict, Path]],
    failures: list[str],
) -> Callable[[DictConfig], float | None]:
    caller = os.getpid()

    def job(cfg: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        run = _command(command).run
        try:
            with spoken(), system_errors_in_one_line(folder), _folder_of_run(cfg, before, folder):
                results = run(cfg, folder)
        except UserError as error:
            if not is_sweep:
                _fail(error)
            # the other jobs of a sweep go on; the exit status tells at the end
            print(f"kdfeatures: error: {option_line(error)} ({folder})", file=sys.stderr)
            if os.getpid() != caller:  # a launcher's process, whose list of failures the caller does not see
                raise
            failures.append(option_line(error))
            return None
        from kdfeatures.runs.results import run_table

        if not is_first() or "student" not in results:
            return None
        finished.append((results, folder))
        print(f"\n{run_table([results])}\n\nSaved in {folder}")
        return results["student"]["metrics"].get(results["split"], {}).get(results["metric"])

    return job


@contextmanager
def _folder_of_run(cfg: DictConfig, before: Path | None, folder: Path) -> Iterator[None]:
    """Write Hydra's files once the run in `folder` begins, or has ended; remove a folder that is left empty."""
    from kdfeatures.runs.folder import when_begun

    def begun(of_run: Path) -> None:
        if of_run.absolute() == folder.absolute():
            write_hydra(folder, cfg)

    if folder.absolute() == Path.cwd():  # of commands that print; it was there before
        with when_begun(begun):
            yield
        return
    try:
        with when_begun(begun):
            yield
        if is_first() and folder.is_dir() and any(folder.iterdir()) and not (folder / HYDRA).exists():
            write_hydra(folder, cfg)  # of a command that keeps no manifest
    finally:
        if is_first_here():
            remove_empty(folder, before)


def _command(name: str) -> Any:
    """The module of a command. Its import takes seconds, so not before the command's line is read."""
    collects = gc.isenabled()
    gc.disable()  # an import makes millions of objects and no garbage; looking for it takes a seventh of the time
    try:
        module = importlib.import_module(f"kdfeatures.cli.commands.{name}")
        quiet_libraries()
        return module
    finally:
        if collects:
            gc.enable()


def _quieten() -> None:
    # a library's advice to its own developers is noise to the user of a command
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _fail(error: UserError) -> NoReturn:
    if not is_first_here():
        # the launcher ends every process as soon as one has failed: the first one here must have spoken by then
        time.sleep(HEAD_START)
    print(f"kdfeatures: error: {option_line(error)}", file=sys.stderr, flush=True)
    sys.exit(2)
