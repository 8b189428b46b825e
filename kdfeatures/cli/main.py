"""The command line: `kdfeatures COMMAND [hydra overrides]`.

Every job of a call, all jobs of a sweep included, is composed before the first one starts, so that a mistyped
override is one line and costs nothing.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.cli.arguments import jobs_of, parse_arguments
from kdfeatures.cli.help import SUMMARIES, command_help, overview
from kdfeatures.cli.spoken import spoken
from kdfeatures.config.compose import check_seed
from kdfeatures.config.hydra_errors import explained
from kdfeatures.config.option_errors import option_line
from kdfeatures.config.paths import check_folder, conf_dir
from kdfeatures.errors import UserError, nearest
from kdfeatures.training.distributed import check_processes, is_first, is_first_here

HEAD_START = 10  # seconds in which the first process on a machine reports an error that all of them meet
NAMES_A_PATH = {"compare": "runs", "submission": "file"}  # what their first argument may be without a name
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
    command, rest = argv[0], argv[1:]
    if command in NAMES_A_PATH and rest and (Path(rest[0]).exists() or not re.match(r"-|\w+=", rest[0])):
        rest = [f"{NAMES_A_PATH[command]}={_quoted(rest[0])}", *rest[1:]]
    if command == "glue":
        rest = _lists(rest)
    try:
        if command not in SUMMARIES:
            raise UserError(f"unknown command '{command}'{nearest(command, SUMMARIES)}; try kdfeatures --help")
        if "--help" in rest or "-h" in rest:
            print(command_help(command))
            return
        fixed = check_overrides(command, rest)
    except UserError as error:
        _fail(error)
    _quieten()
    finished: list[tuple[dict, Path]] = []
    failures: list[str] = []
    job = _job(command, fixed is not None, finished, failures)
    if fixed is not None:
        # a job's folder is named by what the sweep varies, not by all that was said
        rest = [*rest, f"hydra.job.config.override_dirname.exclude_keys={fixed}"]
    sys.argv = [f"kdfeatures {command}", *rest]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(job)()
    if len(finished) > 1:
        from kdfeatures.runs.arms import without_seed
        from kdfeatures.runs.results import run_table

        results, folders = zip(*finished, strict=True)
        print(f"\n{run_table(results, [without_seed(folder.name) for folder in folders])}")
    if failures:
        sys.exit(2)


def check_overrides(command: str, rest: list[str]) -> list[str] | None:
    """Compose every job that `rest` asks for. Raises UserError for the first bad one.

    Returns the keys that all jobs of a sweep share, or None when it is not a sweep.
    """
    arguments = parse_arguments(rest)
    if arguments.config_dir and not Path(arguments.config_dir).is_dir():
        raise UserError(f"--config-dir={arguments.config_dir}: no such folder.")
    if arguments.multirun and command in ("explain", "glue"):
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
        for overrides in jobs:
            try:
                cfg = hydra.compose(command, [*overrides, *directories])
            except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: task=null
                raise UserError(explained(error, command, overrides)) from error
            unresolved: Any = OmegaConf.to_container(cfg)
            folder = unresolved["output_dir"]  # it may name the time
            _check_common(cfg, folder)
            if folder is not None and fixed is None:
                # Hydra would overwrite the .hydra folder of the run that is there before the job could refuse
                _check_output(Path(folder), unresolved)
            check_processes(command, arguments.overrides, folder)
            _check_upload(cfg, len(jobs), pushed)
    return fixed


def _check_upload(cfg: DictConfig, jobs: int, pushed: set[str]) -> None:
    """Raise UserError when several jobs would be uploaded to one repository."""
    repository = cfg.get("push_to_hub")
    if repository is None:
        return
    if repository in pushed:
        raise UserError(f"push_to_hub={repository}: {jobs} jobs would overwrite each other there; push one of them.")
    pushed.add(repository)


def _quoted(path: str) -> str:
    """Return a path as an override has it, whatever signs are in it."""
    # Hydra takes backslashes as they are but for those before a quote, OmegaConf ${ but for that behind one
    inside = re.sub(r"(\\+)$|(\\*)'", _escaped, path).replace("${", r"\${")
    return f"'{inside}'"


def _escaped(match: re.Match[str]) -> str:
    return 2 * match[1] if match[1] else rf"{2 * match[2]}\'"


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
    if "runs" in cfg and (cfg.runs is None or not Path(cfg.runs).is_dir()):
        raise UserError(f"runs={cfg.runs} is no folder; say which runs to compare, kdfeatures compare DIR.")
    if folder is None:
        return
    # Hydra makes the folder before the job starts; what stands in its way would be a traceback
    check_folder(Path(folder), f"output_dir={folder}")


def _job(command: str, is_sweep: bool, finished: list[tuple[dict, Path]], failures: list[str]):
    caller = os.getpid()

    def job(cfg: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        run = importlib.import_module(f"kdfeatures.cli.commands.{command}").run
        try:
            with spoken():
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


def _quieten() -> None:
    # a library's advice to its own developers is noise to the user of a command
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _fail(error: UserError) -> NoReturn:
    if not is_first_here():
        # the launcher ends every process as soon as one has failed: the first one here must have spoken by then
        time.sleep(HEAD_START)
    print(f"kdfeatures: error: {option_line(error)}", file=sys.stderr, flush=True)
    sys.exit(2)
