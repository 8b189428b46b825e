"""How does the cost of a step grow with tokens, layers and sequence length, and does arithmetic tell it?

python -m benchmarks.growth

The step of benchmarks.job (hidden states, attention scores, logits; a 12 x 384 BERT teaches a 6 x 192 one), one thing
changed at a time, over the step with 16 sequences of 64 tokens, in rounds that alternate. Beside each ratio stands that
of the operations: the teacher's forward pass and three of the student's, in linear layers and attention.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from benchmarks.harness import append_rows, keep_freed_memory, time_ratios
from benchmarks.job import DEVICE, DistillationSetup, random_batch, random_classifier, training_step
from benchmarks.peers.ours import features
from kdfeatures.evaluation.timing import Spread

THREADS, ROUNDS = 2, 7
TEACHER_WIDTH, STUDENT_WIDTH = 384, 192


@dataclass(frozen=True)
class Case:
    """A step: its batch, and the depth of both models."""

    batch: int = 16
    length: int = 64
    teacher_layers: int = 12
    student_layers: int = 6

    @property
    def operations(self) -> float:
        """Return the operations of a step, up to a factor that all cases share."""
        teacher = _forward(self.teacher_layers, TEACHER_WIDTH, self.length)
        student = _forward(self.student_layers, STUDENT_WIDTH, self.length)
        return self.batch * self.length * (teacher + 3 * student)


BASE = Case()
CASES = {
    "16 x 64 tokens": BASE,
    "again": BASE,
    "32 x 64 tokens": replace(BASE, batch=32),
    "64 x 64 tokens": replace(BASE, batch=64),
    "8 x 128 tokens": replace(BASE, batch=8, length=128),
    "4 x 256 tokens": replace(BASE, batch=4, length=256),
    "2 x 512 tokens": replace(BASE, batch=2, length=512),
    "a teacher of 24 layers": replace(BASE, teacher_layers=24),
    "a student of 3 layers": replace(BASE, student_layers=3),
    "a student of 12 layers": replace(BASE, student_layers=12),
}


def _forward(layers: int, width: int, length: int) -> float:
    """Operations of a forward pass for one token: 24 D² a layer in linear layers, and 4 L D in attention."""
    return layers * (24 * width**2 + 4 * length * width)


def step_of(case: Case) -> Callable[[], object]:
    """Return a function that takes the step of a case."""
    torch.manual_seed(0)
    setup = DistillationSetup(
        random_classifier(layers=case.teacher_layers, width=TEACHER_WIDTH),
        random_classifier(layers=case.student_layers, width=STUDENT_WIDTH),
    )
    step, batch = training_step(features(setup)), random_batch(case.batch, case.length)
    return lambda: step(batch)


def rows_of(measured: dict[str, Spread]) -> list[dict[str, object]]:
    """Return a row for each case: its time and its operations over those of the first."""
    return [
        {
            "case": name,
            "time": f"{spread.median:.2f}",
            "p20": f"{spread.low:.2f}",
            "p80": f"{spread.high:.2f}",
            "operations": f"{CASES[name].operations / BASE.operations:.2f}",
        }
        for name, spread in measured.items()
    ]


def main() -> None:
    if DEVICE == "cpu":
        torch.set_num_threads(THREADS)
    keep_freed_memory()
    append_rows("growth", rows_of(time_ratios({name: step_of(case) for name, case in CASES.items()}, rounds=ROUNDS)))


if __name__ == "__main__":
    main()
