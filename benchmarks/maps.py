"""What does a step cost whose layer map moves, beside one with the uniform map?

A 12 x 384 BERT teaches a 6 x 192 one through hidden states, projected to 384, and logits: 7 pairs with the uniform and
the random map, 73 with the others. One thread.

python -m benchmarks.maps
"""

from __future__ import annotations

from functools import partial

import torch

from benchmarks.harness import append_rows, keep_freed_memory, peak_mebibytes, time_ratios
from benchmarks.job import TEMPERATURE, DistillationSetup, Variant, random_batch, random_job, training_step
from kdfeatures.alignment.projections import LinearProjections
from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.distiller import Distiller
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.losses import HiddenMSE, LogitKD
from kdfeatures.mapping import AlpMap, DynamicLayerMap, EmdMap, LearnedMap, RandomMap

SHAPES, ROUNDS = ((16, 64), (16, 128)), 9
LAYERS = 6, 12


def variant(job: DistillationSetup, moving: DynamicLayerMap | None) -> Variant:
    pairs = job.hidden_pairs if moving is None else moving.pairs
    projections = LinearProjections(pairs, *job.widths, shared=False, bias=True, always=True)
    terms = {
        "logits": BoundTerm(LogitKD(temperature=TEMPERATURE), 1.0),
        "hidden": BoundTerm(HiddenMSE(), 1.0, pairs, "sum", map=moving),
    }
    distiller = Distiller(job.student(), job.teacher(), BoundObjective(terms, projections), [0, 1]).train()
    return Variant(lambda batch: distiller(**batch).loss, distiller.student, list(projections.linear.values()))


def main() -> None:
    torch.set_num_threads(1)
    maps = {
        "uniform": None,
        "uniform, again": None,
        "random": RandomMap(*LAYERS, seed=1, every=None, embeddings=True),
        "attention": AlpMap(*LAYERS, pool="cls", temperature=1.0, embeddings=True),
        "emd": EmdMap(*LAYERS, update=True, embeddings=True),
        "learned": LearnedMap(*LAYERS, learning_rate=0.01, embeddings=True),
    }
    job = random_job()
    steps = {name: training_step(variant(job, moving)) for name, moving in maps.items()}
    cases = {shape: {name: partial(step, random_batch(*shape)) for name, step in steps.items()} for shape in SHAPES}
    # before any pass has run here, whose freed memory would hide what the others need
    peaks = {shape: {name: peak_mebibytes(run) for name, run in timed.items()} for shape, timed in cases.items()}
    keep_freed_memory()
    rows = []
    for shape, timed in cases.items():
        for name, (median, low, high) in time_ratios(timed, rounds=ROUNDS).items():
            rows.append(
                {"batch": shape[0], "length": shape[1], "map": name}
                | {"time_ratio": f"{median:.3f}", "p20": f"{low:.3f}", "p80": f"{high:.3f}"}
                | {"peak_mib": f"{peaks[shape][name]:.0f}"}
            )
    append_rows("maps", rows)


if __name__ == "__main__":
    main()
