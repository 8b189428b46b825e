"""finetune, distill, evaluate, inspect and export of models with one output that says how well two texts fit."""

import json

import pytest
from support.kind_runs import KindRuns
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from kdfeatures.cli.main import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = KindRuns.make(tmp_path_factory.mktemp("relevance"), "relevance")
    made.finetune("teacher")
    made.distil("student", "recipe=logits", "trainer.train_sampling_strategy=group_by_length")
    return made


def test_a_student_learns_to_rank_and_batches_of_like_length_give_the_same_scores(runs):
    results = runs.results("student")
    teacher, student = (results[side]["metrics"]["validation"] for side in ("teacher", "student"))
    assert teacher["mrr"] > 0.95 and student["auc"] > 0.95
    state = json.loads((runs.folder / "student" / "trainer_state.json").read_text())
    logged = [entry for entry in state["log_history"] if "eval_mrr" in entry][-1]
    assert {name: logged[f"eval_{name}"] for name in ("mrr", "auc")} == pytest.approx(
        {name: student[name] for name in ("mrr", "auc")}
    )
    again = runs.evaluate("scored", f"model.path={runs.folder / 'student'}")
    assert again["student"]["metrics"]["validation"] == student
    card = (runs.folder / "student" / "README.md").read_text()
    assert "CrossEncoder(" in card and "pipeline_tag: text-ranking" in card


def test_sentence_transformers_gives_the_probabilities(runs):
    library = pytest.importorskip("sentence_transformers")
    pairs = [("near met", "in the ada garden"), ("near met", "in the york garden")]
    found = library.CrossEncoder(str(runs.folder / "teacher"), device="cpu").predict(pairs)
    model = AutoModelForSequenceClassification.from_pretrained(runs.folder / "teacher").eval()
    tokenizer = AutoTokenizer.from_pretrained(runs.folder / "teacher")
    expected = [model(**tokenizer(*pair, return_tensors="pt")).logits.sigmoid().item() for pair in pairs]
    assert found == pytest.approx(expected, abs=1e-4) and found[0] > 0.5 > found[1]


def test_the_snippet_of_the_card_runs(runs, capsys, monkeypatch):
    pytest.importorskip("sentence_transformers")
    monkeypatch.chdir(runs.folder)
    exec(runs.snippet("student"), {})
    assert "[0." in capsys.readouterr().out


def test_grades_are_learned_too_and_what_was_trained_otherwise_is_refused(runs, capsys):
    graded = ["task.metrics=[spearmanr]", "task.scale=1"]
    results = runs.distil("graded", "recipe=logits", *graded)
    assert results["student"]["metrics"]["validation"]["spearmanr"] > 0.7
    with pytest.raises(SystemExit):
        runs.distil("unfit", "recipe=logits", "task=files", "task.labels=[]", "task.metrics=[pearson]")
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "has the problem_type multi_label_classification" in told and "teacher.force=true" in told


def test_an_output_that_is_trained_with_squared_error_teaches_one(runs):
    squared = ["task.loss=mse", "trainer.learning_rate=2e-3"]
    runs.finetune("squared", *squared)
    results = runs.distil("of_squared", "recipe=logits", *squared, teacher="squared")
    assert results["student"]["metrics"]["validation"]["mrr"] > 0.9
    config = json.loads((runs.folder / "of_squared" / "config.json").read_text())
    assert config["sentence_transformers"] == {"activation_fn": "torch.nn.modules.linear.Identity"}
    card = " ".join((runs.folder / "of_squared" / "README.md").read_text().split())
    assert "| logits | `LogitMSE` |" in card


@pytest.mark.slow
@pytest.mark.usefixtures("operators_once")
def test_an_export_ranks_alike(runs):
    pytest.importorskip("onnxruntime")
    main(["export", *runs.task, f"model.path={runs.folder / 'student'}", f"output_dir={runs.folder / 'onnx'}"])
    results = json.loads((runs.folder / "onnx" / "results.json").read_text())
    assert results["formats"]["onnx"]["metrics"] == results["formats"]["torch"]["metrics"]
    assert results["formats"]["onnx"]["difference"] == {"validation": None}  # candidates are not drawn apart
