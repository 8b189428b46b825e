"""finetune, distill, evaluate, inspect and export on questions whose answer is a part of a text."""

import csv
import json

import numpy as np
import pytest
from support.byte_students import byte_student
from support.kind_runs import KindRuns

from kdfeatures.cli.main import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = KindRuns.make(tmp_path_factory.mktemp("question"), "question")
    made.finetune("teacher")
    made.distil("student", "recipe=hidden_joint")
    return made


def test_a_student_finds_the_answers_over_windows_and_says_what_it_is(runs):
    results = runs.results("student")
    teacher, student = (results[side]["metrics"]["validation"] for side in ("teacher", "student"))
    assert teacher["exact_match"] > 0.9 and student["f1"] > 0.85
    assert results["examples"] == {"validation": 60} and results["train_examples"] > 240  # windows
    assert {"logits", "hidden"} <= set(results["losses"])
    state = json.loads((runs.folder / "student" / "trainer_state.json").read_text())
    logged = [entry["eval_f1"] for entry in state["log_history"] if "eval_f1" in entry]
    assert logged[-1] == pytest.approx(student["f1"])
    again = runs.evaluate("scored", f"model.path={runs.folder / 'student'}")
    assert again["student"]["metrics"]["validation"] == student
    card = (runs.folder / "student" / "README.md").read_text()
    assert "AutoModelForQuestionAnswering" in card and "pipeline_tag: question-answering" in card


def test_the_snippet_of_the_card_runs(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs.folder)
    exec(runs.snippet("teacher"), {})
    assert capsys.readouterr().out


def test_labels_soft_labels_and_few_of_them(runs):
    results = runs.distil("both", "recipe=logits", "data.labelled=100")
    assert results["labelled_examples"] == 100
    assert results["student"]["metrics"]["validation"]["f1"] > 0.85


def test_answers_of_two_teachers_are_no_logits_to_average(runs):
    other = f"+teachers.other={{path: {runs.folder / 'teacher'}}}"
    results = runs.distil("of_two", "recipe=logits", other, "trainer.max_steps=1")
    assert results["ensemble"] == {} and results["teachers"][1]["metrics"] == results["teacher"]["metrics"]


def test_hidden_answers_get_predictions(runs):
    rows = [json.loads(line) for line in (runs.folder / "validation.jsonl").read_text().splitlines()]
    asked = runs.folder / "asked.jsonl"
    asked.write_text("".join(json.dumps({k: row[k] for k in ("question", "context")}) + "\n" for row in rows))
    runs.evaluate("predicted", f"task.files.test={asked}", "split=test", f"model.path={runs.folder / 'teacher'}")
    with (runs.folder / "predicted" / "predictions_test.csv").open() as stream:
        predictions = [row["prediction"] for row in csv.DictReader(stream)]
    truth = [row["answers"]["text"][0] for row in rows]
    assert np.mean([one == two for one, two in zip(predictions, truth, strict=True)]) > 0.9


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["cache=auto"], "of question answering start and end logits are not kept; use cache=off"),
        (["data.pool=texts.txt"], "adds whole texts, which task 'small' does not label"),
        (["augmentation=tinybert"], "augmentation alters the texts of tasks of kind sequence"),
        (["student.vocabulary=task"], "choose a student with the teacher's tokenizer, and student.vocabulary=null"),
        (["data.max_length=8"], "leaves 4 of data.max_length=8 for its context"),
    ],
)
def test_what_cannot_be_is_told_before_training(runs, overrides, told, capsys):
    with pytest.raises(SystemExit):
        runs.distil("refused", "recipe=logits", *overrides)
    assert told in capsys.readouterr().err.strip().splitlines()[-1]


def test_answers_are_no_file_that_teaches(runs, capsys):
    with pytest.raises(SystemExit):
        runs.evaluate("kept", f"model.path={runs.folder / 'teacher'}", f"outputs={runs.folder / 'answers'}")
    assert "keeps classes or scores of whole texts" in capsys.readouterr().err


def test_a_student_may_be_pruned_and_keep_the_teachers_head(runs):
    results = runs.distil("pruned", "recipe=logits", "student.init=pruned", "student.init_examples=32",
                          "student.freeze_head=true", "student.layers=3", "trainer.max_steps=2")  # fmt: skip
    teacher, student = (results[side]["metrics"]["validation"]["f1"] for side in ("teacher", "student"))
    assert student > teacher - 0.05


def test_a_student_with_another_tokenizer_is_refused(runs, capsys):
    student = byte_student(runs.folder / "bytes")
    with pytest.raises(SystemExit):
        runs.distil("refused", "recipe=logits", f"student.path={student}", "student.layers=null")
    assert "start and end of an answer are tokens" in capsys.readouterr().err.strip().splitlines()[-1]


def test_layers_and_heads_are_inspected(runs):
    main(["inspect", *runs.task, f"teacher.path={runs.folder / 'teacher'}", f"student.path={runs.folder / 'student'}",
          "inspect.examples=20", "mapping=final", f"output_dir={runs.folder / 'page'}"])  # fmt: skip
    assert (runs.folder / "page" / "index.html").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("operators_once")
def test_an_export_answers_alike(runs):
    pytest.importorskip("onnxruntime")
    main(["export", *runs.task, f"model.path={runs.folder / 'student'}", f"output_dir={runs.folder / 'onnx'}"])
    results = json.loads((runs.folder / "onnx" / "results.json").read_text())
    assert results["formats"]["onnx"]["metrics"] == results["formats"]["torch"]["metrics"]
    assert results["examples"] == {"validation": 60}
