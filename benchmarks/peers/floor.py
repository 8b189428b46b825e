"""The least that any distillation step must do: ask the teacher, and train the student on something."""

from __future__ import annotations

import torch

from benchmarks.job import DistillationSetup, Variant


def floor(job: DistillationSetup) -> Variant:
    """One teacher forward pass without gradients and one plain training step of the student on the labels."""
    teacher, student = job.teacher(), job.student()

    def loss(batch):
        with torch.no_grad():
            teacher(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        return student(**batch).loss

    return Variant(loss, student)
