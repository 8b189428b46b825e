"""The losses as one would write them in a notebook: output_hidden_states, output_attentions and mse_loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from benchmarks.job import TEMPERATURE, DistillationSetup, Variant
from benchmarks.peers import scores


def naive(job: DistillationSetup) -> Variant:
    teacher, student = job.teacher(scores.IMPLEMENTATION), job.student(scores.IMPLEMENTATION)
    maps = list(job.projections().linear.values())

    def loss(batch):
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        inputs |= {"output_hidden_states": True, "output_attentions": True}
        with torch.no_grad():
            target = teacher(**inputs)
        found = student(**inputs)
        total = TEMPERATURE**2 * F.kl_div(
            F.log_softmax(found.logits / TEMPERATURE, dim=-1),
            F.softmax(target.logits / TEMPERATURE, dim=-1),
            reduction="batchmean",
        )
        for pair, linear in zip(job.hidden_pairs, maps, strict=True):
            total = total + F.mse_loss(linear(found.hidden_states[pair.student]), target.hidden_states[pair.teacher])
        for pair in job.attention_pairs:
            total = total + F.mse_loss(found.attentions[pair.student - 1], target.attentions[pair.teacher - 1])
        return total

    return Variant(loss, student, maps)
