import csv
import json

import pytest

from kdfeatures.cli.main import main


def test_hidden_labels_give_predictions_instead_of_scores(workspace, capsys):
    source = workspace.folder / "hidden.csv"
    source.write_text("sentence,label\nthe dog that barked slept,-1\nthe dog slept,-1\n", encoding="utf-8")
    folder = workspace.folder / "hidden"
    overrides = ["task.files.test=hidden.csv", "split=test", f"model.path={workspace.teacher}", f"output_dir={folder}"]
    main(
        ["evaluate", *[text for text in workspace.task if "files.test" not in text], f"+{overrides[0]}", *overrides[1:]]
    )
    with (folder / "predictions_test.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["index"] for row in rows] == ["0", "1"]
    assert {row["prediction"] for row in rows} <= {"plain", "relative"}
    assert json.loads((folder / "results.json").read_text())["student"]["metrics"] == {}
    assert "labels of clauses test are hidden" in capsys.readouterr().out


def test_an_encoder_without_a_head_is_refused(workspace, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(
            [
                "evaluate",
                *workspace.task,
                f"model.path={workspace.encoder}",
                f"output_dir={workspace.folder / 'no_head'}",
            ]
        )
    assert "was never fine-tuned for classification" in capsys.readouterr().err


def test_a_model_of_a_run_is_scored_on_its_task_without_a_word(workspace, capsys):
    folder = workspace.folder / "its_own_task"
    main(["evaluate", f"model.path={workspace.teacher}", f"output_dir={folder}"])
    told = capsys.readouterr().out
    assert f"as {workspace.teacher / 'run.json'} has it; say task=NAME for another." in told
    assert "| teacher | clauses |" in told
    of_run, results = (json.loads((path / "results.json").read_text()) for path in (workspace.teacher, folder))
    assert results["student"]["metrics"] == of_run["student"]["metrics"]
    assert results["config"]["task"] == of_run["config"]["task"]
    assert results["config"]["data"]["path"] == str(workspace.folder)
