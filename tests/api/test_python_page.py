"""docs/python.md: every example runs, in the order of the page; so does the Python of the README."""

import pytest
import torch
from datasets import Dataset
from support.in_memory import CLAUSES, in_memory
from support.pages import headings, python_blocks
from support.shared_data import ROOT
from support.small_runs import TEXTS, bert_config, sequence_data
from transformers import (
    BertForMaskedLM,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
)

import kdfeatures as kd
from kdfeatures.data.synthetic import tokenizer

PAGE = ROOT / "docs" / "python.md"
# what the page fine-tunes: here a tiny encoder, which must learn its task in a moment
PRETRAINED = 'model="bert-base-uncased"'
TINY = "model={!r}, trainer={{'learning_rate': 3e-3, 'num_train_epochs': 6, 'per_device_train_batch_size': 16}}"


@pytest.fixture
def names(workspace):
    """What the page says its examples have, small."""
    encoded = tokenizer()(TEXTS)
    length = [len(row) for row in encoded["input_ids"]]
    padded = tokenizer()(TEXTS, padding=True)
    of_heads = {
        name: head(bert_config(layers, num_labels=3 if head is BertForTokenClassification else 2))
        for head, both in (
            (BertForTokenClassification, ("tagger", "teacher_tagger")),
            (BertForQuestionAnswering, ("reader", "teacher_reader")),
            (BertForMaskedLM, ("masked_lm", "teacher_lm")),
            (BertModel, ("encoder", "teacher_encoder")),
        )
        for name, layers in zip(both, (4, 12), strict=True)
    }
    texts = in_memory(workspace)
    return {
        "student": BertForSequenceClassification(bert_config(4)),
        "teacher": BertForSequenceClassification(bert_config(12, hidden_size=24)),
        "other_teacher": BertForSequenceClassification(bert_config(4)),
        "tokenizer": tokenizer(),
        "train": sequence_data(),
        "dev": sequence_data(),
        "batch": dict(tokenizer()(TEXTS[:2], padding=True, return_tensors="pt")),
        "texts": TEXTS,
        "tagged": Dataset.from_dict({**encoded, "labels": [[n % 3 for n in range(long)] for long in length]}),
        "answered": Dataset.from_dict(
            {**padded, "start_positions": [1] * len(TEXTS), "end_positions": [2] * len(TEXTS)}
        ),
        "train_texts": texts["train"],
        "dev_texts": texts["validation"],
        **of_heads,
    }


def test_the_examples_run_in_the_order_of_the_page(names, workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checks = {
        "The Trainer": trained,
        "A recipe by name": recipes_named,
        "A loop of your own": every_parameter_has_a_gradient,
        "A whole run in one call": scored,
        "Compare": compared,
    }
    run(python_blocks(PAGE)[0], "the opening", names)
    for heading in headings(PAGE):
        for block in python_blocks(PAGE, heading):
            run(block.replace(PRETRAINED, TINY.format(str(workspace.encoder))), heading, names)
        if heading in checks:
            checks.pop(heading)(names)
    assert checks == {}


def run(code, where, names):
    exec(compile(code, f"docs/python.md, {where}", "exec"), names)


def trained(names):
    logged = {key for entry in names["trainer"].state.log_history for key in entry}
    assert {"loss/logits", "loss/hidden", "loss/attention"} <= logged
    assert BertForSequenceClassification.from_pretrained("out/student").config.num_hidden_layers == 4


def recipes_named(names):
    assert list(kd.recipe("tinybert_joint").terms) == ["logits", "hidden", "attention"]
    assert list(kd.recipe("tinybert")) == ["intermediate", "prediction"]
    assert list(names["recipe"].terms) == ["logits", "hidden"]


def every_parameter_has_a_gradient(names):
    distiller = names["distiller"]
    assert distiller.parts.keys() == {"logits", "hidden", "attention"}
    assert all(torch.isfinite(part) for part in distiller.parts.values())
    assert all(parameter.grad is not None for parameter in distiller.objective.parameters())


def scored(names):
    assert names["result"].recipe == "tinybert_joint" and names["result"].student.layers == 2
    assert 0 <= names["result"].score <= 1


def compared(names):
    assert "tinybert_joint" in str(names["comparison"])
    assert names["layers"].similarity.shape == (5, 13)
    assert names["heads"]["divergence"][4, 12].matching.pairs


def test_the_readmes_python_runs(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    teacher = BertForSequenceClassification(bert_config(12, hidden_size=48, num_attention_heads=12))
    student = BertForSequenceClassification(bert_config(6, hidden_size=48, num_attention_heads=12))
    teacher.save_pretrained("pretrained")
    tokenizer().save_pretrained("pretrained")
    data, short = in_memory(workspace), {"max_steps": 2, "disable_tqdm": True}
    options = {"teacher": workspace.teacher, "student": kd.StudentSpec(layers=2), "dataset": data, "trainer": short}
    kd.distill(CLAUSES, recipe="hard", output_dir="students/hard", **options)
    names = {"student": student, "teacher": teacher, "train": sequence_data(), "dev": sequence_data(), "texts": TEXTS}
    names |= {"CLAUSES": CLAUSES, "data": data, "short": short}
    code = "\n".join(python_blocks(ROOT / "README.md"))
    for shown, small in {
        "bert-base-uncased": "pretrained",
        'task="mrpc"': "task=CLAUSES, dataset=data, trainer=short",
        'teacher="teacher"': f"teacher={str(workspace.teacher)!r}",
        "StudentSpec(layers=6)": "StudentSpec(layers=2)",
    }.items():
        assert shown in code
        code = code.replace(shown, small)
    exec(compile(code, "README.md", "exec"), names)
    features, (rows, length) = names["features"], names["batch"]["input_ids"].shape
    assert features.hidden.keys() == {0, 6, 12} and features.hidden[6].shape == (rows, length, 48)
    assert features.relation(12, "value", heads=48).shape == (rows, 48, length, length)
    logged = {key for entry in names["trainer"].state.log_history for key in entry}
    assert {"loss/logits", "loss/hidden", "loss/attention"} <= logged
    assert [stage["name"] for stage in names["result"].stages] == ["intermediate", "prediction"]
