"""What does a distillation step cost beside the least it could, and beside other systems that compute the same loss?

python -m benchmarks.step            # times and peak memory; needs the `peers` extra
python -m benchmarks.step check      # only that all of them have the same gradient

Floor: one teacher forward pass without gradients and one plain training step of the student. Memory is the peak of
resident memory above what the process held before the models were made: weights, gradients, AdamW's moments,
activations. Each figure comes from a process of its own, in which glibc returns freed tensors at once
(MALLOC_MMAP_THRESHOLD_), so that only what is alive counts.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import NamedTuple

import torch

from benchmarks.harness import append_rows, high_water_mark, resident_mebibytes, time_ratios
from benchmarks.job import DistillationSetup, Variant, gradient, random_batch, random_job, training_step

SHAPES = ((16, 64), (16, 128), (4, 512))
ROUNDS = 7
THREADS = 2


class Contender(NamedTuple):
    """A variant, `module.function` below benchmarks.peers, and how far its gradient may be from that of kdfeatures.

    allowed: as a share of the gradient's norm, or None where there is nothing to compare.
    """

    where: str
    allowed: float | None = None


SAME, ROUNDED, CODED = 1e-4, 0.01, 0.03  # float32 in another order; a bfloat16 teacher; an int8 one
FEATURES = {
    "floor": Contender("floor.floor"),
    "floor, again": Contender("floor.floor"),
    "kdfeatures": Contender("ours.features"),
    "kdfeatures, bfloat16 teacher": Contender("ours.features_of_bfloat16", ROUNDED),
    "kdfeatures, int8 teacher": Contender("ours.features_of_int8", CODED),
    "naive": Contender("naive.naive", SAME),
    "TextBrewer 0.2.1": Contender("textbrewer.textbrewer", SAME),
    "silverspoon-kd 0.1.0": Contender("silverspoon.silverspoon", SAME),
}
RELATIONS = {
    "floor": Contender("floor.floor"),
    "kdfeatures": Contender("ours.relations"),
    "bertdistiller 0.1.2": Contender("bertdistiller.bertdistiller", SAME),
}
JOBS = {"7 hidden + 6 attention + logits": FEATURES, "MiniLMv2 relations": RELATIONS}


def make(where: str, job: DistillationSetup) -> Variant:
    """Return the variant that `module.function` below benchmarks.peers makes."""
    module, function = where.split(".")
    return getattr(import_module(f"benchmarks.peers.{module}"), function)(job)


def gradient_differences(variants: dict[str, Contender]) -> dict[str, float]:
    """Return the relative difference of each peer's gradient, over all that is trained; raise where it is too large."""
    job, batch = random_job(), random_batch(3, 40)
    expected = gradient(make(variants["kdfeatures"].where, job), batch)
    found = {}
    for name, (where, allowed) in variants.items():
        if allowed is None:
            continue
        found[name] = ((gradient(make(where, job), batch) - expected).norm() / expected.norm()).item()
        if not found[name] < allowed:
            raise RuntimeError(f"{name} has another gradient than kdfeatures: they differ by {found[name]:.1e} of it.")
    return found


def peak_mebibytes(where: str, batch: int, length: int) -> float:
    """Measure a variant in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.step", "peak", where, str(batch), str(length)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"measuring the memory of {where} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def print_peak(where: str, batch: int, length: int) -> None:
    """Take two steps and print by how much resident memory rose at most since before the models were made."""
    import_module(f"benchmarks.peers.{where.split('.')[0]}")
    before = resident_mebibytes()
    step = training_step(make(where, random_job()))
    for _ in range(2):
        step(random_batch(batch, length))
    print(high_water_mark() - before)


def measure(name: str, variants: dict[str, Contender], shape: tuple[int, int]) -> list[dict]:
    """Return a row for each variant of one job on batches of one shape."""
    job, batch = random_job(), random_batch(*shape)
    steps: dict[str, Callable[[], None]] = {
        variant: partial(training_step(make(entry.where, job)), batch) for variant, entry in variants.items()
    }
    times = time_ratios(steps, rounds=ROUNDS, warm_ups=1)
    peaks = {variant: peak_mebibytes(entry.where, *shape) for variant, entry in variants.items()}
    rows = []
    for variant, (median, low, high) in times.items():
        row = {"job": name, "variant": variant, "batch": shape[0], "length": shape[1]}
        row |= {"time_ratio": f"{median:.3f}", "p20": f"{low:.3f}", "p80": f"{high:.3f}"}
        row |= {"memory_ratio": f"{peaks[variant] / peaks['floor']:.3f}", "peak_mib": f"{peaks[variant]:.0f}"}
        rows.append(row)
    return rows


def main() -> None:
    torch.set_num_threads(THREADS)
    differences = {name: gradient_differences(variants) for name, variants in JOBS.items()}
    print(differences)
    if sys.argv[1:] == ["check"]:
        return
    for name, variants in JOBS.items():
        for shape in SHAPES:
            rows = measure(name, variants, shape)
            for row in rows:
                difference = differences[name].get(row["variant"])
                row["gradient_difference"] = "" if difference is None else f"{difference:.0e}"
            append_rows("step", rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["peak"]:
        torch.set_num_threads(THREADS)
        print_peak(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
