"""Processes of their own: a script of this folder in two, and commands, alone or under torchrun.

They are forked from one that has imported the libraries, which takes longer than what most of them do.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

TESTS = Path(__file__).parent
LIMIT = 300.0  # seconds
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(["kdfeatures.cli.commands.distill", "kdfeatures.training.trainer"])


def in_two_processes(script: str, folder: Path) -> str:
    """Run tests/<script> with a folder in two gloo processes and return what they print; they must succeed.

    They have the environment that torchrun gives them.
    """
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
    return "".join(side_by_side(script, [(folder,)] * 2, environments=ranks))


def side_by_side(
    script: str, arguments: Sequence[Sequence[object]], *, environments: Sequence[Mapping[str, str]] | None = None
) -> list[str]:
    """Run tests/<script> at the same time with each of these arguments; return what each prints; all must succeed."""
    folder = Path(arguments[0][0])
    files = [folder / f"{script}-{number}.txt" for number in range(len(arguments))]
    processes = [
        _forks.Process(target=_script, args=(script, list(map(str, own)), dict(environment), file), daemon=True)
        for own, environment, file in zip(arguments, environments or [{}] * len(files), files, strict=True)
    ]
    for process in processes:
        process.start()
    _wait(processes)
    printed = [file.read_text() for file in files]
    assert [process.exitcode for process in processes] == [0] * len(processes), "\n".join(printed)[-6000:]
    return printed


def command(arguments: Sequence[object], printed: Path | None = None, said: Path | None = None) -> BaseProcess:
    """Start `kdfeatures ARGUMENTS`; its standard error goes to the file `printed`, its output to `said`, if given."""
    return program("kdfeatures", arguments, printed, said)


def torchrun(options: Sequence[str], arguments: Sequence[object], printed: Path) -> BaseProcess:
    """Start `torchrun OPTIONS -m kdfeatures ARGUMENTS`, whose processes are forked from it; all print to one file."""
    forked = ["--start-method=fork", "--run-path", str(TESTS / "forked_program.py")]
    return program("torch.distributed.run", [*options, *forked, *arguments], printed, printed)


def program(module: str, arguments: Sequence[object], printed: Path | None, said: Path | None) -> BaseProcess:
    """Start `python -m MODULE ARGUMENTS`, which may start processes; see command()."""
    process = _forks.Process(target=_program, args=(module, list(map(str, arguments)), printed, said), daemon=True)
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """Wait for its end and return its exit status."""
    _wait([process])
    return process.exitcode


def kill(arguments: Sequence[object], *, when: Callable[[], bool]) -> None:
    """Run `kdfeatures ARGUMENTS` and kill it as soon as `when()`; that must be before it ends of itself."""
    process = command(arguments)
    deadline = time.monotonic() + LIMIT
    while not when() and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    process.join()
    assert process.exitcode < 0, "the command ended before it could be killed"


def _wait(processes: Sequence[BaseProcess]) -> None:
    """Wait until all have ended; one that fails ends the others, which may wait for it."""
    deadline = time.monotonic() + LIMIT
    while any(process.is_alive() for process in processes):
        if any(process.exitcode for process in processes) or time.monotonic() > deadline:
            for process in processes:
                process.kill()
        time.sleep(0.02)
    for process in processes:
        process.join()


def _script(script: str, arguments: list[str], environment: dict[str, str], printed: Path) -> None:
    _begin(printed, printed)
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    runpy.run_path(str(TESTS / script), run_name="__main__")


def _program(module: str, arguments: list[str], printed: Path | None, said: Path | None) -> None:
    multiprocessing.current_process().daemon = False  # it may have children
    _begin(printed, said)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # of interpreters that it starts
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _begin(printed: Path | None, said: Path | None) -> None:
    """Print to files, and compute as all tests do."""
    for descriptor, path in ((1, said), (2, printed)):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND  # both may be one file
        os.dup2(os.open(path or os.devnull, flags), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    gc.freeze()  # Trainer calls gc.collect(): see steady.py
