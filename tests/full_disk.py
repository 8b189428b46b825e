"""Runs on a disk that is too small for them: one line that says so, and once there is room, the end of a whole run.

    python tests/full_disk.py          all kinds of runs of tests/kills.py but the grid, each on disks of 9 sizes
    python tests/full_disk.py export   those that are named

The disk is a tmpfs in a namespace of its own, so this needs Linux and `unshare`, but no rights.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from kills import Ends, Kind, child, ended, halves, kinds, log_of, prepared, whole_run

SHARES = (0.02, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 1.1)  # of what the finished run takes
INSIDE = "KDFEATURES_FULL_DISK"
PAGE = 4096


def mount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)], check=True)


def pages(folder: Path) -> int:
    """Return how many pages a tmpfs needs for the files."""
    return sum(-(-path.stat().st_size // PAGE) + 1 for path in folder.rglob("*"))


def attack(kind: Kind, folder: Path) -> tuple[int, list[str]]:
    """Return how often the disk was full, and what went wrong."""
    disk = folder / "disk"
    disk.mkdir()
    whole_run(kind.command, folder / "first")
    whole_run(kind.command, folder / "second")
    ends = Ends(folder / "first", folder / "second")
    needed, refused, faults = pages(folder / "first"), 0, []
    for share in SHARES:
        mount(disk, f"size={int(share * needed) * PAGE}")
        out = disk / "run"
        log_of(out).unlink(missing_ok=True)
        status = ended(child(kind.command, out))
        said = log_of(out).read_text().splitlines()
        wrong = halves(out) if out.exists() else []
        if status:
            refused += 1
            last = said[-1] if said else ""
            if status != 2 or not last.startswith("kdfeatures: error:") or "free" not in last:
                wrong.append(f"ended with {status}: {last}")
            if any("Traceback" in line for line in said):
                wrong.append("a traceback")
            mount(disk, "remount,size=1g")
            status = ended(child(kind.command + kind.resume, out))
            wrong += [f"with room, ended with {status}"] if status else []
        wrong += ends.differences(out)
        faults += [f"{kind.name}, {share:.0%} of the space: {text}" for text in wrong]
        if wrong:
            shutil.copy(log_of(out), folder / f"{share}.log")
        subprocess.run(["umount", str(disk)], check=True)
    return refused, faults


def run(words: list[str]) -> bool:
    """Print the table; return whether all ended well."""
    folder, workspace = prepared()
    every: list[str] = []
    print("| run | disks | too small | ended otherwise |\n|---|---:|---:|---:|", flush=True)
    for kind in kinds(workspace):
        if kind.name == "glue" or not all(word in kind.name for word in words):
            continue
        place = folder / kind.name.replace(", ", "-").replace(" ", "-")
        place.mkdir()
        refused, faults = attack(kind, place)
        print(f"| {kind.name} | {len(SHARES)} | {refused} | {len(faults)} |", flush=True)
        print(*faults, sep="\n", end="\n" if faults else "", file=sys.stderr, flush=True)
        every += faults
    if every:
        print(f"What was printed is in {folder}.", file=sys.stderr)
    else:
        shutil.rmtree(folder)
    return not every


if __name__ == "__main__":
    if INSIDE not in os.environ:
        command = ["unshare", "--map-root-user", "--mount", sys.executable, *sys.argv]
        os.execvpe(command[0], command, os.environ | {INSIDE: "1"})
    sys.exit(not run(sys.argv[1:]))
