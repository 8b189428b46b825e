"""finetune, distill, evaluate, inspect, export and compare on a task with any number of labels a text."""

import csv
import json

import numpy as np
import pytest
from safetensors.torch import load_file
from support.kind_runs import LABELS, KindRuns
from transformers import AutoModelForSequenceClassification

from kdfeatures.cli.main import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = KindRuns.make(tmp_path_factory.mktemp("multilabel"), "multilabel")
    made.finetune("teacher", "trainer.num_train_epochs=10")
    made.distil("student", "recipe=logits", "trainer.num_train_epochs=3")
    return made


def test_a_teacher_and_a_student_learn_the_labels_and_say_what_they_are(runs):
    results = runs.results("student")
    teacher, student = (results[side]["metrics"]["validation"] for side in ("teacher", "student"))
    assert teacher["f1_micro"] > 0.95 and student["f1_micro"] > 0.9
    assert results["metric"] == "combined_score" and results["labelled_examples"] == 240
    model = AutoModelForSequenceClassification.from_pretrained(runs.folder / "student")
    assert model.config.problem_type == "multi_label_classification"
    assert list(model.config.id2label.values()) == list(LABELS)
    state = json.loads((runs.folder / "student" / "trainer_state.json").read_text())
    logged = [entry["eval_f1_micro"] for entry in state["log_history"] if "eval_f1_micro" in entry]
    assert logged[-1] == pytest.approx(student["f1_micro"])
    again = runs.evaluate("scored", f"model.path={runs.folder / 'student'}")
    assert again["student"]["metrics"]["validation"] == student
    card = (runs.folder / "student" / "README.md").read_text()
    assert "| logits | `BinaryKD` |" in " ".join(card.split()) and "top_k=None" in card
    card = (runs.folder / "teacher" / "README.md").read_text()
    assert "Binary cross-entropy with each label" in card


def test_the_snippet_of_the_card_runs_and_gives_a_probability_for_each_label(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs.folder)
    exec(runs.snippet("student"), {})
    told = capsys.readouterr().out
    assert all(f"'label': '{label}'" in told for label in LABELS)


def test_logit_kd_and_binary_kd_are_the_same_there(runs):
    short = ["trainer.max_steps=3", "recipe=logits", "losses.logits.temperature=3"]
    runs.distil("as_logits", *short)
    runs.distil("as_binary", *short, "loss@losses.logits=binary_kd")
    one, other = (load_file(runs.folder / name / "model.safetensors") for name in ("as_logits", "as_binary"))
    assert all((one[name] == other[name]).all() for name in one)


def test_a_loss_over_classes_is_refused_before_anything_is_loaded(runs, capsys):
    with pytest.raises(SystemExit):
        runs.distil("refused", "recipe=logits", "loss@losses.logits=reverse_kl")
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "ReverseKL, which compares outputs that mean classes or positions, but those of this task mean lab" in told
    assert "use BinaryKD" in told


def test_hidden_labels_get_predictions_and_a_pool_is_learned_from(runs):
    rows = [json.loads(line) for line in (runs.folder / "validation.jsonl").read_text().splitlines()]
    texts = runs.folder / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": row["text"]}) + "\n" for row in rows))
    test = [f"task.files.test={texts}", "split=test", f"model.path={runs.folder / 'teacher'}"]
    runs.evaluate("predicted", *test)
    with (runs.folder / "predicted" / "predictions_test.csv").open() as stream:
        predictions = [row["prediction"] for row in csv.DictReader(stream)]
    truth = ["|".join(label for label in LABELS if row[label]) for row in rows]
    assert np.mean([one == two for one, two in zip(predictions, truth, strict=True)]) > 0.9
    results = runs.distil(
        "pooled",
        "recipe=logits",
        f"data.pool={texts}",
        "data.labelled=20",
        "losses.labels.class_weights=balanced",
        "trainer.num_train_epochs=4",
    )
    assert (results["pool_examples"], results["labelled_examples"]) == (60, 20)
    assert results["student"]["metrics"]["validation"]["f1_micro"] > 0.8


def test_two_teachers_are_averaged_label_by_label(runs):
    other = [f"+teachers.other.path={runs.folder / 'teacher'}"]
    results = runs.distil("two_teachers", "recipe=logits", *other, "trainer.max_steps=2")
    assert results["ensemble"] == results["teacher"]["metrics"]


def test_arms_are_compared(runs, capsys):
    for seed in (1, 2):
        for recipe in ("hard", "logits"):
            runs.distil(f"arms/{recipe}_{seed}", f"recipe={recipe}", f"seed={seed}", "trainer.num_train_epochs=1")
    main(["compare", f"runs={runs.folder / 'arms'}", f"output_dir={runs.folder / 'compared'}", "resamples=50"])
    assert "combined_score (validation)" in capsys.readouterr().out


def test_layers_and_heads_are_inspected(runs):
    main(["inspect", *runs.task, f"teacher.path={runs.folder / 'teacher'}", f"student.path={runs.folder / 'student'}",
          "inspect.examples=20", "mapping=final", f"output_dir={runs.folder / 'page'}"])  # fmt: skip
    assert (runs.folder / "page" / "index.html").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("operators_once")
def test_an_export_is_scored_with_its_interval(runs):
    pytest.importorskip("onnxruntime")
    main(
        [
            "export",
            *runs.task,
            f"model.path={runs.folder / 'student'}",
            f"output_dir={runs.folder / 'onnx'}",
            "resamples=20",
        ]
    )
    formats = json.loads((runs.folder / "onnx" / "results.json").read_text())["formats"]
    assert formats["onnx"]["metrics"] == formats["torch"]["metrics"]
    assert formats["onnx"]["difference"]["validation"] == [0.0, 0.0, 0.0]
