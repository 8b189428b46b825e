"""Tasks of every kind from data in memory, through kd.finetune, kd.distill and kd.evaluate."""

import json

import pytest
from datasets import Dataset
from support.kind_runs import KindRuns

import kdfeatures as kd
from kdfeatures.embeddings.pooling import Pooling

TASKS = {
    "multilabel": {"text": ["text"], "labels": ["person", "place", "sleep"], "metrics": ["f1_micro"]},
    "relevance": {"text": ["query", "passage"], "label": "relevant", "metrics": ["auc"]},
    "question": {"windows": {"overlap": 4, "longest_answer": 4, "unanswerable": False}},
}
TRAINER = {"learning_rate": 5e-3, "per_device_train_batch_size": 16, "num_train_epochs": 4, "disable_tqdm": True}


def in_memory(folder):
    return {
        split: Dataset.from_list([json.loads(line) for line in (folder / f"{split}.jsonl").read_text().splitlines()])
        for split in ("train", "validation")
    }


@pytest.mark.parametrize("kind", TASKS)
def test_a_dict_and_datasets_are_enough(tmp_path, kind):
    runs = KindRuns.make(tmp_path, kind)
    task = {"kind": kind, "name": "small", **TASKS[kind]}
    given = {"dataset": in_memory(tmp_path), "data": {"max_length": 24}}
    teacher = kd.finetune(
        task, output_dir=tmp_path / "teacher", model=runs.folder / "encoder", trainer=TRAINER, **given
    )
    assert teacher.student.metrics["validation"][teacher.metric] > 0.7
    student = kd.distill(
        task, output_dir=tmp_path / "student", teacher=tmp_path / "teacher", student=kd.StudentSpec(layers=2),
        recipe="logits", trainer=TRAINER, **given,
    )  # fmt: skip
    scores = student.student.metrics["validation"]
    assert scores[student.metric] > 0.7
    again = kd.evaluate(task, tmp_path / "student", output_dir=tmp_path / "scored", **given)
    assert again.student.metrics["validation"] == pytest.approx(scores)


def test_an_encoder_without_vectors_has_none_to_compare(tmp_path):
    from transformers import AutoModel

    KindRuns.make(tmp_path, "embedding")
    student, teacher = (AutoModel.from_pretrained(tmp_path / "encoder") for _ in range(2))
    objective = kd.Objective(vectors=kd.losses.EmbeddingCosine())
    with pytest.raises(kd.ConfigError, match="the student BertModel has no head"):
        kd.Distiller(student, teacher, objective)
    for model in (student, teacher):
        kd.give_vectors(model, Pooling("cls"))
    assert kd.Distiller(student, teacher, objective).objective.terms["vectors"].projection is None
    with pytest.raises(kd.ConfigError, match="LogitKD compares outputs that mean classes"):
        kd.Distiller(student, teacher, kd.Objective(logits=kd.losses.LogitKD()))
