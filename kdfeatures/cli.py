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
from typing import NoReturn

import hydra
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from kdfeatures.errors import UserError, nearest
from kdfeatures.help import command_help, overview
from kdfeatures.paths import conf_dir
from kdfeatures.processes import check_processes, is_first, is_first_here

HEAD_START = 10  # seconds in which the first process on a machine reports an error that all of them meet
COMMANDS = ("finetune", "distill", "explain", "cache", "evaluate", "export", "compare", "inspect", "demo")

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
    if command == "compare" and rest and (Path(rest[0]).is_dir() or not re.match(r"-|\w+=", rest[0])):
        rest = [f"runs='{rest[0]}'", *rest[1:]]
    try:
        if command not in COMMANDS:
            raise UserError(f"unknown command '{command}'{nearest(command, COMMANDS)}; try kdfeatures --help")
        if "--help" in rest or "-h" in rest:
            print(command_help(command))
            return
        fixed = check_overrides(command, rest)
    except UserError as error:
        _fail(error)
    _quieten()
    finished: list[dict] = []
    failures: list[str] = []
    job = _job(command, fixed is not None, finished, failures)
    if fixed is not None:
        # a job's folder is named by what the sweep varies, not by all that was said
        rest = [*rest, f"hydra.job.config.override_dirname.exclude_keys={fixed}"]
    sys.argv = [f"kdfeatures {command}", *rest]
    hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name=command)(job)()
    if len(finished) > 1:
        from kdfeatures.results import run_table

        print(f"\n{run_table(finished)}")
    if failures:
        sys.exit(2)


def check_overrides(command: str, rest: list[str]) -> list[str] | None:
    """Compose every job that `rest` asks for. Raises UserError for the first bad one.

    Returns the keys that all jobs of a sweep share, or None when it is not a sweep.
    """
    parser = get_args_parser()
    parser.error = _raise
    arguments = parser.parse_args(rest)
    if arguments.config_dir and not Path(arguments.config_dir).is_dir():
        raise UserError(f"--config-dir={arguments.config_dir}: no such folder.")
    if arguments.multirun and command == "explain":
        raise UserError("kdfeatures explain reports on one run at a time; leave out -m.")
    directories = [f"hydra.searchpath=[file://{Path(arguments.config_dir).absolute()}]"] if arguments.config_dir else []
    with hydra.initialize_config_dir(str(conf_dir()), version_base="1.3"):
        jobs, fixed = [arguments.overrides], None
        if arguments.multirun:
            try:
                # with the loader it knows what arm=glob(*) stands for
                reader = OverridesParser.create(config_loader=GlobalHydra.instance().config_loader())
                parsed = reader.parse_overrides(arguments.overrides)
                fixed = [override.key_or_group for override in parsed if not override.is_sweep_override()]
                jobs = BasicSweeper.split_arguments(parsed, max_batch_size=None)[0]
            except HydraException as error:
                raise UserError(f"{' '.join(rest)}: {str(error).splitlines()[0]}") from error
        for overrides in jobs:
            try:
                cfg = hydra.compose(command, [*overrides, *directories])
            except (HydraException, OmegaConfBaseException, ValueError) as error:  # ValueError: task=null
                raise UserError(_explain(error, command, overrides)) from error
            folder = OmegaConf.to_container(cfg)["output_dir"]  # not resolved: it may name the time
            _check_common(cfg, folder)
            if folder is not None and fixed is None and cfg.existing == "refuse":
                # Hydra would overwrite the .hydra folder of the run that is there before the job could refuse
                _refuse_run(Path(folder))
            check_processes(command, arguments.overrides, folder)
    return fixed


def _refuse_run(folder: Path) -> None:
    if folder.is_dir():  # or nothing is lost, and the import takes seconds
        from kdfeatures.runs import refuse_run

        refuse_run(folder)


def _raise(message: str) -> NoReturn:
    raise UserError(f"{message}; try kdfeatures --help")


def _check_common(cfg: DictConfig, folder: str | None) -> None:
    if type(cfg.seed) is not int or not 0 <= cfg.seed < 2**32:
        raise UserError(f"seed={cfg.seed} must be a whole number from 0 to 2^32 - 1.")
    if "runs" in cfg and (cfg.runs is None or not Path(cfg.runs).is_dir()):
        raise UserError(f"runs={cfg.runs} is no folder; say which runs to compare, kdfeatures compare DIR.")
    if folder is None:
        return
    # Hydra makes the folder before the job starts; what stands in its way would be a traceback
    made = next(path for path in (Path(folder), *Path(folder).absolute().parents) if path.exists())
    if not made.is_dir():
        raise UserError(f"output_dir={folder} cannot be made, because {made} is a file; choose another folder.")
    if not os.access(made, os.W_OK):
        raise UserError(f"output_dir={folder} cannot be made in {made}: permission denied.")


def _explain(error: Exception, command: str, overrides: list[str]) -> str:
    """Say in one line what Hydra says in several, with the nearest name that exists."""
    text = str(error)
    if isinstance(error, OverrideParseException):
        return f"cannot read '{error.override}': {text.splitlines()[0]}; write NAME=VALUE, in quotes for the shell."
    missing = re.search(r"Could not find '(\w+)/([^']+)'", text)
    if missing:
        group, wanted = missing.groups()
        choices = re.findall(r"^\t([\w.-]+)$", text, flags=re.MULTILINE)
        known = f"choose from {', '.join(choices)}" if choices else f"conf/{group} is empty"
        return f"unknown {group} '{wanted}'{nearest(wanted, choices)}; {known}."
    unknown = re.search(r"Could not override '([^']+)'", text)
    if unknown:
        *parents, wanted = unknown[1].split(".")
        hint = _nearest_option(parents, wanted, command, [text for text in overrides if unknown[1] not in text])
        return f"unknown option {unknown[1]}{hint}; to add it all the same, write +{unknown[1]}=..."
    return " ".join(line.strip() for line in text.splitlines() if "hydra.cc" not in line)


def _nearest_option(parents: list[str], wanted: str, command: str, overrides: list[str]) -> str:
    try:
        node = hydra.compose(command, overrides)
    except (HydraException, OmegaConfBaseException):
        return ""  # another override is wrong as well; the next call will name it
    for name in parents:
        if name not in node or not isinstance(node[name], DictConfig):
            return nearest(name, node)
        node = node[name]
    return nearest(wanted, node)


def _job(command: str, is_sweep: bool, finished: list[dict], failures: list[str]):
    caller = os.getpid()

    def job(cfg: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        run = importlib.import_module(f"kdfeatures.commands.{command}").run
        try:
            results = run(cfg, folder)
        except UserError as error:
            if not is_sweep:
                _fail(error)
            # the other jobs of a sweep go on; the exit status tells at the end
            print(f"kdfeatures: error: {error} ({folder})", file=sys.stderr)
            if os.getpid() != caller:  # a launcher's process, whose list of failures the caller does not see
                raise
            failures.append(str(error))
            return None
        from kdfeatures.results import run_table

        if not is_first() or "student" not in results:
            return None
        finished.append(results)
        print(f"\n{run_table([results])}\n\nSaved in {folder}")
        return results["student"]["metrics"].get(results["split"], {}).get(results["metric"])

    return job


def _quieten() -> None:
    # a library's advice to its own developers is noise to the user of a command
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def _fail(error: Exception) -> NoReturn:
    if not is_first_here():
        # the launcher ends every process as soon as one has failed: the first one here must have spoken by then
        time.sleep(HEAD_START)
    print(f"kdfeatures: error: {error}", file=sys.stderr, flush=True)
    sys.exit(2)
