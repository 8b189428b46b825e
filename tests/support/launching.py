"""Processes of their own: a script of this folder in two, and a command that is killed.

They are forked from one that has imported the libraries, which takes longer than what most of them do.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from multiprocessing.process import BaseProcess
from pathlib import Path

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


def command(arguments: Sequence[str], printed: Path | None = None) -> BaseProcess:
    """Start `kdfeatures ARGUMENTS`, whose standard error goes to a file; nothing else that it prints is kept."""
    process = _forks.Process(target=_command, args=(list(arguments), printed), daemon=True)
    process.start()
    return process


def kill(arguments: Sequence[str], *, when: Callable[[], bool]) -> None:
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
    with open(printed, "w") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    os.environ.update(environment)
    sys.argv = [script, *arguments]
    runpy.run_path(str(TESTS / script), run_name="__main__")


def _command(arguments: list[str], printed: Path | None) -> None:
    import torch

    from kdfeatures.cli.main import main

    for descriptor, path in ((1, None), (2, printed)):
        os.dup2(os.open(path or os.devnull, os.O_WRONLY | os.O_CREAT), descriptor)
    torch.set_num_threads(1)
    main(arguments)
