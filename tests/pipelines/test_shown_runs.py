"""The quick start and the page on deployment, command by command, with a tiny model instead of a pretrained one."""

import csv
import json

import pytest
from support.pages import python_blocks, shell_commands, written_files
from support.shared_data import ROOT

from kdfeatures.cli.main import main

START = ROOT / "docs" / "quickstart.md"
DEPLOY = ROOT / "docs" / "tutorials" / "deploy.md"


def test_the_quick_start_runs_as_it_is_written(workspace, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, text in written_files(START).items():
        (tmp_path / name).write_text(text)
    ran = []
    for words in shell_commands(START):
        assert words[0] == "kdfeatures"
        short = ["trainer.max_steps=3", "trainer.disable_tqdm=true"] if words[1] in ("finetune", "distill") else []
        # three steps teach a tiny model nothing
        short += ["teacher.force=true"] if words[1] == "distill" else []
        small = {
            "model.path=bert-base-uncased": f"model.path={workspace.encoder}",
            "student.layers=6": "student.layers=2",
        }
        main([*(small.get(word, word) for word in words[1:]), *short])
        ran.append(words[1])
    assert ran == ["finetune", "distill", "distill", "compare", "evaluate"]
    results = json.loads((tmp_path / "students" / "tinybert" / "results.json").read_text())
    assert results["student"]["metrics"]["validation"].keys() == {"accuracy"}
    assert (tmp_path / "students" / "comparison" / "comparison.md").exists()
    assert list((tmp_path / "predicted" / "answers").iterdir())
    names = {}
    exec("\n".join(python_blocks(START)).replace("\nclassify(", "\nanswer = classify("), names)
    assert names["answer"][0]["label"] in ("good", "bad")


def test_the_quick_starts_examples_are_as_many_as_it_says_and_half_are_good():
    rows = list(csv.DictReader(written_files(START)["reviews.csv"].splitlines()))
    assert len(rows) == 24 and sum(row["verdict"] == "good" for row in rows) == 12
    assert len({row["review"] for row in rows}) == 24 and all(None not in row for row in rows)


@pytest.mark.slow
@pytest.mark.usefixtures("operators_once")
def test_the_python_of_the_page_on_deployment_answers_as_the_exported_model(workspace, tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    main(["export", *workspace.task, f"model.path={workspace.teacher}", "output_dir=exported"])
    names = {}
    exec("\n".join(python_blocks(DEPLOY)).replace("max_length=128", "max_length=24"), names)
    with (workspace.folder / "validation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    labels = json.loads((tmp_path / "exported" / "config.json").read_text())["id2label"]
    right = [
        labels[str(found)] == row["label"]
        for found, row in zip(names["answer"]([row["sentence"] for row in rows]), rows, strict=True)
    ]
    scored = json.loads((workspace.teacher / "results.json").read_text())["student"]["metrics"]["validation"][
        "accuracy"
    ]
    assert sum(right) / len(right) >= scored - 0.05
