"""How long do training steps take on one and on two threads, on an idle machine and beside a busy core?

python -m benchmarks.threads

A process a row, since how threads wait is settled when torch is loaded: spinning for a while, as the OpenMP library
does, or asleep at once (OMP_WAIT_POLICY=passive, which the command line sets on a busy machine). The busy core is a
loop in another process. Times are over that of two spinning threads on the idle machine, for the same models; "chosen"
is what a run with trainer.threads=null takes that starts beside the loop.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.harness import append_rows
from benchmarks.job import DistillationSetup, random_batch, random_classifier, training_step
from benchmarks.peers.ours import features
from kdfeatures.models.costs import operations_per_token
from kdfeatures.runtime.threads import threads_for

ROUNDS = 3


class Job(NamedTuple):
    """Layers and width of teacher and student, the batch, and the steps that are timed together."""

    teacher: tuple[int, int]
    student: tuple[int, int]
    batch: tuple[int, int]
    steps: int


JOBS = {
    "4 x 60 to 2 x 60, 64 x 12 tokens": Job((4, 60), (2, 60), (64, 12), 10),
    "6 x 192 to 3 x 192, 32 x 16 tokens": Job((6, 192), (3, 192), (32, 16), 6),
    "6 x 384 to 3 x 384, 32 x 32 tokens": Job((6, 384), (3, 384), (32, 32), 2),
}
WAITS = {"spinning": {}, "asleep": {"OMP_WAIT_POLICY": "passive"}}
VARIANTS = (("2", "spinning"), ("2", "asleep"), ("1", "spinning"), ("chosen", "asleep"))
PIECES = 500


def measure(name: str, threads: str) -> None:
    """Print how many operations a job's step has, and its median seconds on the idle machine and beside a busy core."""
    job = JOBS[name]
    torch.manual_seed(0)
    teacher, student = (
        random_classifier(layers=layers, width=width, vocab_size=PIECES) for layers, width in (job.teacher, job.student)
    )
    operations = job.batch[0] * job.batch[1] * (3 * operations_per_token(student) + operations_per_token(teacher))
    chosen = threads_for(operations) if threads == "chosen" else int(threads)
    torch.set_num_threads(2 if chosen is None else chosen)
    step, batch = training_step(features(DistillationSetup(teacher, student))), random_batch(*job.batch)
    batch["input_ids"] %= PIECES
    idle = _seconds(step, batch, job.steps)
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        busy = _seconds(step, batch, job.steps)
    finally:
        loop.kill()
    print(operations, idle, busy)


def _seconds(step: Callable[[dict[str, Tensor]], None], batch: dict[str, Tensor], steps: int) -> float:
    """Return the median over rounds of the seconds of one step."""
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        for _ in range(steps):
            step(batch)
        seconds.append((time.perf_counter() - start) / steps)
    return statistics.median(seconds[1:])


def in_a_process(name: str, threads: str, wait: str) -> list[float]:
    """Return what `measure` prints in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")} | WAITS[wait]
    command = [sys.executable, "-m", "benchmarks.threads", name, threads]
    printed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    return [float(word) for word in printed.split()]


def main() -> None:
    rows = []
    for name in JOBS:
        first = None
        for threads, wait in VARIANTS:
            operations, idle, busy = in_a_process(name, threads, wait)
            first = first or idle
            rows.append(
                {"job": name, "operations": f"{operations:.1e}", "threads": threads, "waiting": wait}
                | {"idle_ratio": f"{idle / first:.2f}", "busy_ratio": f"{busy / first:.2f}"}
                | {"idle_ms": f"{1000 * idle:.1f}"}
            )
            print(*rows[-1].values(), flush=True)
    append_rows("threads", rows)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(*sys.argv[1:])
    else:
        main()
