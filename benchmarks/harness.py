"""Measure variants against each other, and file the ratios."""

from __future__ import annotations

import csv
import ctypes
import datetime
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

from kdfeatures.evaluation.timing import Spread, alternating_seconds, ratios
from kdfeatures.runs.environment import device_name, versions

RESULTS = Path(__file__).parent / "results"


def time_ratios(variants: Mapping[str, Callable[[], object]], *, rounds: int, warm_ups: int = 3) -> dict[str, Spread]:
    """Return median, 20th and 80th percentile over rounds of each variant's time over the first variant's."""
    seconds = alternating_seconds(variants, rounds=rounds, warm_ups=warm_ups)
    reference = next(iter(seconds.values()))
    return {name: ratios(taken, reference) for name, taken in seconds.items()}


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next pass, as a GPU's allocator does (glibc; elsewhere nothing).

    By default it gives freed blocks back to the system. A forward pass of 80 ms then takes some 3,000 page faults,
    more or fewer by chance, and any tensor kept for longer than its layer adds its own. Call it after measuring peaks.
    """
    _set_malloc(trim_threshold=1 << 30, mmap_threshold=1 << 25)


def return_freed_memory() -> None:
    """Let the C library give freed tensors back at once, so that a peak counts only what is alive (glibc)."""
    _set_malloc(trim_threshold=1 << 16, mmap_threshold=1 << 16)


def _set_malloc(*, trim_threshold: int, mmap_threshold: int) -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(-1, trim_threshold)
        mallopt(-3, mmap_threshold)


def append_rows(name: str, rows: list[dict]) -> None:
    """Append rows to results/<name>.csv, each with the date, device, versions and commit, and print them."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True).stdout.strip()
    common = {
        "date": datetime.date.today().isoformat(),
        "commit": commit,
        "device": device_name(),
        "torch": versions()["torch"],
        "transformers": versions()["transformers"],
    }
    path = RESULTS / f"{name}.csv"
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, [*rows[0], *common])
        if is_new:
            writer.writeheader()
        for row in rows:
            writer.writerow(row | common)
            print("  ".join(f"{key}={value}" for key, value in row.items()))


def peak_mebibytes(variant: Callable[[], object]) -> float:
    """Return by how much resident memory rises at most while `variant` runs once, in a fork of this process (Linux).

    A fork begins without memory that earlier passes have freed and this one would reuse unseen.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        before = _kibibytes("VmRSS")
        variant()
        os.write(writing, str(_kibibytes("VmHWM") - before).encode())
        os._exit(0)
    os.close(writing)
    os.waitpid(child, 0)
    with os.fdopen(reading) as stream:
        return int(stream.read()) / 1024


def resident_mebibytes() -> float:
    """Return this process's resident memory (Linux)."""
    return _kibibytes("VmRSS") / 1024


def high_water_mark() -> float:
    """Return the most that this process's resident memory has been, in mebibytes (Linux)."""
    return _kibibytes("VmHWM") / 1024


def _kibibytes(field: str) -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(f"{field}:"))
