"""TextBrewer's GeneralDistiller (pip install textbrewer)."""

from __future__ import annotations

from tempfile import gettempdir

from textbrewer import DistillationConfig, GeneralDistiller, TrainingConfig

from benchmarks.job import DEVICE, TEMPERATURE, DistillationSetup, Variant
from benchmarks.peers import scores


def textbrewer(job: DistillationSetup) -> Variant:
    """Its soft cross-entropy has no T^2, which the weight adds; the value also holds the teacher's entropy."""
    matches = [
        {
            "layer_T": pair.teacher,
            "layer_S": pair.student,
            "feature": "hidden",
            "loss": "hidden_mse",
            "weight": 1,
            "proj": ["linear", *job.widths],
        }
        for pair in job.hidden_pairs
    ] + [
        {
            "layer_T": pair.teacher - 1,
            "layer_S": pair.student - 1,
            "feature": "attention",
            "loss": "attention_mse",
            "weight": 1,
        }
        for pair in job.attention_pairs
    ]
    config = DistillationConfig(
        temperature=TEMPERATURE, kd_loss_weight=TEMPERATURE**2, hard_label_weight=0, intermediate_matches=matches
    )
    student = job.student(scores.IMPLEMENTATION)
    training = TrainingConfig(device=DEVICE, output_dir=gettempdir())
    distiller = GeneralDistiller(training, config, job.teacher(scores.IMPLEMENTATION), student, adaptor, adaptor)
    maps = [linear for linear in distiller.projs if linear is not None]
    for linear, given in zip(maps, job.projections().linear.values(), strict=True):
        linear.load_state_dict(given.state_dict())

    def loss(batch):
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        total, _ = distiller.train_on_batch(inputs, {"output_hidden_states": True, "output_attentions": True})
        return total

    return Variant(loss, student, maps)


def adaptor(batch, outputs):
    """What its documentation has users write: names for the outputs of a model."""
    return {
        "logits": outputs.logits,
        "hidden": outputs.hidden_states,
        "attention": outputs.attentions,
        "inputs_mask": batch["attention_mask"],
    }
