"""silverspoon-kd's HolisticDistiller (pip install --no-deps silverspoon-kd peft)."""

from __future__ import annotations

from tempfile import gettempdir

from silverspoon_kd import HolisticDistiller, TrainingArguments
from silverspoon_kd.alignments import Alignment, OutputSelector
from silverspoon_kd.losses import kl_divergence_loss, mse_loss

from benchmarks.job import DEVICE, TEMPERATURE, DistillationSetup, Variant
from benchmarks.peers import scores


def silverspoon(job: DistillationSetup) -> Variant:
    """Its losses take no mask, so padding would count."""
    teacher, student = job.teacher(scores.IMPLEMENTATION), job.student(scores.IMPLEMENTATION)
    maps = list(job.projections().linear.values())
    alignments = [
        Alignment(
            _output(teacher, pair.teacher),
            _output(student, pair.student),
            output_projector=linear,
            loss_function=mse_loss(),
        )
        for pair, linear in zip(job.hidden_pairs, maps, strict=True)
    ]
    second = OutputSelector(1)
    alignments += [
        Alignment(
            teacher.bert.encoder.layer[pair.teacher - 1].attention.self,
            student.bert.encoder.layer[pair.student - 1].attention.self,
            teacher_output_selector=second,
            student_output_selector=second,
            loss_function=mse_loss(),
        )
        for pair in job.attention_pairs
    ]
    alignments.append(
        Alignment(teacher.classifier, student.classifier, loss_function=kl_divergence_loss(temperature=TEMPERATURE))
    )
    settings = TrainingArguments(output_dir=gettempdir(), use_cpu=DEVICE == "cpu", max_steps=1)
    distiller = HolisticDistiller(student_model=student, teacher_model=teacher, alignments=alignments, args=settings)
    for engine in distiller._capture_engines:
        engine.register()

    def loss(batch):
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        return distiller.compute_distillation_loss(student, inputs, True)

    return Variant(loss, student, maps)


def _output(model, layer):
    return model.bert.encoder.layer[layer - 1] if layer else model.bert.embeddings
