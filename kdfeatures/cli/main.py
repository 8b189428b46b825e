"""The command line: `kdfeatures COMMAND [hydra overrides]`."""

from __future__ import annotations

import os
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, NoReturn

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from kdfeatures.cli.arguments import parse_arguments, written_out
from kdfeatures.cli.checks import CheckedCall, check_call, module_of
from kdfeatures.cli.completion import FLAGS, complete
from kdfeatures.cli.endings import signals_in_one_line, system_errors_in_one_line
from kdfeatures.cli.help import SUMMARIES, command_help, overview
from kdfeatures.cli.refusals import folder_of_run
from kdfeatures.cli.session import Job, hydra_for, start
from kdfeatures.cli.spoken import spoken
from kdfeatures.config.option_errors import option_line
from kdfeatures.errors import UserError, nearest
from kdfeatures.training.distributed import is_first, is_first_here, leave_processes

HEAD_START = 10  # seconds in which the first process on a machine reports an error that all of them meet


class Ended(NamedTuple):
    """What jobs of a call came to in this process: results and folders, and the lines of those that failed."""

    finished: list[tuple[dict, Path]]
    failures: list[str]


def main(argv: list[str] | None = None) -> None:
    """Run one command; exits with 2 and one line on stderr for anything the user can put right."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return
    if argv[0] == "--version":
        print(f"kdfeatures {version('kdfeatures')}")
        return
    _quieten()
    try:
        ended = _call(argv[0], argv[1:])
    except UserError as error:
        _fail(error)
    leave_processes()
    if len(ended.finished) > 1:
        from kdfeatures.runs.arms import without_seed
        from kdfeatures.runs.results import run_table

        results, folders = zip(*ended.finished, strict=True)
        print(f"\n{run_table(results, [without_seed(folder.name) for folder in folders])}")
    if ended.failures:
        sys.exit(2)


def _call(command: str, rest: list[str]) -> Ended:
    ended = Ended([], [])
    if command in FLAGS:
        complete(rest)
        return ended
    if command not in SUMMARIES:
        raise UserError(f"unknown command '{command}'{nearest(command, SUMMARIES)}; try kdfeatures --help")
    arguments = parse_arguments(rest)
    arguments.overrides = written_out(command, arguments.overrides)
    if arguments.shell_completion:
        complete(arguments.overrides)
        return ended
    with hydra_for(command, arguments.config_dir) as made:
        if arguments.help:
            print(command_help(command, arguments.overrides))
            return ended
        call = check_call(made, command, arguments)
        if call.of_run is not None and not arguments.shows_only and is_first():
            print(call.of_run, flush=True)
        jobs = None if call.sweep is None else call.sweep.jobs
        root = Path() if call.before is None else call.before  # Hydra, too, writes to the folder
        try:
            with signals_in_one_line(), system_errors_in_one_line(root):
                start(made, command, arguments, call.overrides, jobs, _job(command, call, ended))
        except UserError:
            raise
        except Exception as error:
            if not ended.failures:
                raise
            # a sweeper may make nothing of jobs that failed, each of which has said why
            raise UserError(f"the sweep ended early: {' '.join(str(error).split())}") from error
    return ended


def _job(command: str, call: CheckedCall, ended: Ended) -> Job:
    """Return the function that Hydra runs. What it returns is what a sweeper makes as large as it can."""
    caller = os.getpid()

    def job(cfg: DictConfig) -> float | None:
        folder = Path(HydraConfig.get().runtime.output_dir)
        run = module_of(command).run
        try:
            with spoken(), system_errors_in_one_line(folder), folder_of_run(cfg, call.before, folder):
                results = run(cfg, folder)
        except UserError as error:
            if call.sweep is None:
                _fail(error)
            # the other jobs of a sweep go on; the exit status tells at the end
            print(f"kdfeatures: error: {option_line(error)} ({folder})", file=sys.stderr)
            if os.getpid() != caller:  # a launcher's process, whose list of failures the caller does not see
                raise
            ended.failures.append(option_line(error))
            return None
        from kdfeatures.runs.results import run_table

        if not is_first() or "student" not in results:
            return None
        ended.finished.append((results, folder))
        print(f"\n{run_table([results])}\n\nSaved in {folder}")
        return results["student"]["metrics"].get(results["split"], {}).get(results["metric"])

    return job


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
