"""How threads wait for one another, which is settled when torch is loaded: spinning, or asleep beside other work."""

from __future__ import annotations

import os
import time
from pathlib import Path

POLICY = "OMP_WAIT_POLICY"
SAMPLES, INTERVAL = 5, 0.01  # seconds


def wait_asleep_if_busy() -> None:
    """Let threads sleep while they wait if other processes already work on the cores; leave what the user has set.

    Spinning threads are the faster ones on an idle machine. Where there are more threads than cores they take the core
    from those they wait for (benchmarks/threads.py; figures in docs/speed.md).
    """
    if POLICY not in os.environ and "GOMP_SPINCOUNT" not in os.environ and others_at_work() > _spare_cores():
        os.environ[POLICY] = "passive"


def others_at_work() -> int:
    """Return how many threads other than this one are running at the least in a few moments; 0 where none can tell."""
    counts: list[int] = []
    for _ in range(SAMPLES):
        time.sleep(INTERVAL if counts else 0)
        try:
            running = Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0]
            counts.append(int(running) - 1)
        except (OSError, ValueError, IndexError):
            return 0
        if counts[-1] < 1:  # an idle moment settles it: commands on an idle machine wait for no more
            return 0
    return min(counts)


def _spare_cores() -> int:
    """The cores of the machine that this process may not use anyway."""
    if not hasattr(os, "sched_getaffinity"):
        return 0
    return max(0, (os.cpu_count() or 1) - len(os.sched_getaffinity(0)))
