"""bertdistiller's MiniLMTrainer (pip install --no-deps bertdistiller), made for transformers 4."""

from __future__ import annotations

from tempfile import gettempdir

from bertdistiller.distillation.minilm import MiniLMTrainer, MiniLMTrainingArguments

from benchmarks.job import DEVICE, RELATION_HEADS, DistillationSetup, Variant


def bertdistiller(job: DistillationSetup) -> Variant:
    """MiniLMv2 relations of the last layers. It takes base models and asks its teacher for all hidden states."""
    teacher, student = job.teacher(), job.student()
    teacher.bert.config.architectures = ["BertForMaskedLM"]  # the one architecture it knows
    settings = MiniLMTrainingArguments(
        output_dir=gettempdir(),
        use_cpu=DEVICE == "cpu",
        teacher_layer=job.hidden_pairs[-1].teacher,
        student_layer=job.hidden_pairs[-1].student,
        student_hidden_size=job.widths[0],
        student_attention_heads=12,
        num_relation_heads=RELATION_HEADS,
    )
    trainer = MiniLMTrainer(student.bert, settings, teacher_model=teacher.bert)

    def loss(batch):
        inputs = {"input_ids": batch["input_ids"], "attention_mask": batch["attention_mask"]}
        return trainer.compute_loss(student.bert, inputs)

    return Variant(loss, student)
