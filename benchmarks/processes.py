"""What do two processes gain over one, with DDP and with FSDP, at the same global batch and one thread each?

The wall clock needs as many idle cores as processes. A process's CPU time for a step does not, and is what the wall
clock would come to without waiting.

python -m benchmarks.processes
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import tempfile
import time

import torch
from datasets import Dataset
from transformers import BertConfig, BertForSequenceClassification, TrainerCallback, TrainingArguments
from transformers.data.data_collator import default_data_collator

from benchmarks.harness import append_rows
from kdfeatures.alignment.projections import LinearProjections
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.losses import AttentionScoreMSE, HiddenMSE, LogitKD
from kdfeatures.mapping.pairs import LayerPair
from kdfeatures.training.fsdp import CONFIG, shard_by_layer
from kdfeatures.training.trainer import DistillationTrainer

VARIANTS = {"one process": 1, "two processes, DDP": 2, "two processes, FSDP": 2}
BATCH, LENGTH, WARM_UPS, STEPS, ROUNDS = 64, 64, 2, 5, 3


class _Timer(TrainerCallback):
    """Keeps the seconds and the CPU seconds of every step."""

    def __init__(self) -> None:
        self.steps: list[tuple[float, float]] = []

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        self.start = time.perf_counter(), time.process_time()

    def on_step_end(self, args, state, control, **kwargs) -> None:
        self.steps.append((time.perf_counter() - self.start[0], time.process_time() - self.start[1]))


def measure(variant: str) -> None:
    """In one of the processes: train for some steps. The first prints seconds, CPU seconds a step, and its peak MiB."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    teacher, student = (
        BertForSequenceClassification(
            BertConfig(num_hidden_layers=layers, hidden_size=256, num_attention_heads=8, intermediate_size=1024)
        )
        for layers in (6, 3)
    )
    pairs = tuple(LayerPair(layer, 2 * layer) for layer in range(4))
    terms = {
        "logits": BoundTerm(LogitKD(temperature=2.0), 1.0),
        "hidden": BoundTerm(HiddenMSE(), 1.0, pairs, "sum"),
        "attention": BoundTerm(AttentionScoreMSE(), 1.0, pairs[1:], "sum"),
    }
    projections = LinearProjections(pairs, 256, 256, shared=False, bias=True, always=True)
    distiller = Distiller(student, teacher, BoundObjective(terms, projections), [0, 1])
    shard_by_layer(distiller, student)
    ids = torch.randint(5, 30000, (BATCH * (WARM_UPS + STEPS), LENGTH))
    rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": torch.zeros(len(ids), dtype=torch.long)}
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            use_cpu=True,
            per_device_train_batch_size=BATCH // VARIANTS[variant],
            num_train_epochs=1,
            save_strategy="no",
            logging_strategy="no",
            remove_unused_columns=False,
            disable_tqdm=True,
            report_to="none",
            fsdp="FSDP" in variant,
            fsdp_config=dict(CONFIG),
        )
        timer = _Timer()
        trainer = DistillationTrainer(
            distiller,
            arguments,
            train_dataset=Dataset.from_dict(rows).with_format("torch"),
            data_collator=default_data_collator,
            callbacks=[timer],
        )
        trainer.train()
    if trainer.is_world_process_zero():
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        wall, cpu = map(statistics.median, zip(*timer.steps[WARM_UPS:], strict=True))
        print(f"measured {wall} {cpu} {peak}")


def main() -> None:
    wall: dict[str, list[float]] = {name: [] for name in VARIANTS}
    cpu: dict[str, list[float]] = {name: [] for name in VARIANTS}
    peaks: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, processes in VARIANTS.items():
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
            command = [sys.executable, *(launcher if processes > 1 else []), "-m", "benchmarks.processes", name]
            output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            line = next(line for line in output.splitlines() if line.startswith("measured "))
            *taken, peaks[name] = map(float, line.split()[1:])
            wall[name].append(taken[0])
            cpu[name].append(taken[1])
    append_rows(
        "processes",
        [
            {
                "variant": name,
                "batch": BATCH,
                "length": LENGTH,
                **_ratios("time", wall[name], wall["one process"]),
                **_ratios("cpu", cpu[name], cpu["one process"]),
                "examples_per_second": f"{BATCH / statistics.median(wall[name]):.1f}",
                "peak_mib_a_process": f"{peaks[name]:.0f}",
            }
            for name in VARIANTS
        ],
    )


def _ratios(what: str, own: list[float], reference: list[float]) -> dict[str, str]:
    ratios = [one / other for one, other in zip(own, reference, strict=True)]
    cuts = statistics.quantiles(ratios, n=5)
    found = {f"{what}_ratio": statistics.median(ratios), f"{what}_p20": cuts[0], f"{what}_p80": cuts[-1]}
    return {name: f"{value:.3f}" for name, value in found.items()}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        main()
