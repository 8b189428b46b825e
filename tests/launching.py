"""Processes of their own: a script of this folder in two, as torchrun starts them, and a command that is killed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

TESTS = Path(__file__).parent


def in_two_processes(script: str, *arguments: object) -> str:
    """Run tests/<script> with these arguments in two gloo processes and return what they print; they must succeed."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    result = subprocess.run(
        [*command, str(TESTS / script), *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


def kill(arguments: Sequence[str], *, when: Callable[[], bool]) -> None:
    """Run `kdfeatures ARGUMENTS` and kill it as soon as `when()`; that must be before it ends of itself."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kdfeatures", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 180
    while not when() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.kill()
    assert process.wait() < 0, "the command ended before it could be killed"
