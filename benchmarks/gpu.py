"""The variants of benchmarks.step on a GPU in bf16: tokens a second, share of the GPU's peak, time and memory ratios.

python -m benchmarks.gpu             # does nothing where torch sees no GPU
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.harness import append_rows
from benchmarks.job import random_batch, random_job, training_step
from benchmarks.step import JOBS, make

SHAPES = ((128, 128), (32, 512))
STEPS, WARM_UPS = 20, 5
# dense bf16 operations a second, from the makers' data sheets
PEAKS = {"A100": 312e12, "H100": 989e12, "H200": 989e12, "L40S": 362e12, "L4": 121e12}


def measured(step: Callable[[], None]) -> tuple[float, float]:
    """Return seconds a step and the peak of allocated memory in mebibytes."""
    for _ in range(WARM_UPS):
        step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for _ in range(STEPS):
        step()
    torch.cuda.synchronize()
    return (time.perf_counter() - start) / STEPS, torch.cuda.max_memory_allocated() / 2**20


def main() -> None:
    if not torch.cuda.is_available():
        print("torch sees no GPU; benchmarks.step measures on the CPU.")
        return
    name = torch.cuda.get_device_name()
    peak = next((operations for model, operations in PEAKS.items() if model in name), None)
    for job_name, variants in JOBS.items():
        for shape in SHAPES:
            rows, floor = [], None
            for variant, (where, _) in variants.items():
                step = training_step(make(where, random_job()))
                batch = random_batch(*shape)
                with FlopCounterMode(display=False) as counter:
                    step(batch)
                seconds, mebibytes = measured(lambda step=step, batch=batch: step(batch))
                floor = floor or (seconds, mebibytes)
                share = "" if peak is None else f"{counter.get_total_flops() / seconds / peak:.3f}"
                row = {"job": job_name, "variant": variant, "batch": shape[0], "length": shape[1]}
                row |= {"tokens_per_second": f"{shape[0] * shape[1] / seconds:.0f}", "share_of_peak": share}
                rows.append(
                    row | {"time_ratio": f"{seconds / floor[0]:.3f}", "memory_ratio": f"{mebibytes / floor[1]:.3f}"}
                )
            append_rows("gpu", rows)


if __name__ == "__main__":
    main()
