"""Whole runs on people's files: one file alone, a test file without labels, hidden labels, repeated ids."""

import csv
import json

import pytest

from kdfeatures.cli.main import main

SPLITS = ("train", "validation")
SHORT = ["trainer.max_steps=2", "trainer.eval_strategy=no", "trainer.disable_tqdm=true"]


def results(folder):
    return json.loads((folder / "results.json").read_text())


def task(workspace, *more):
    return ["task=files", "task.name=clauses", "task.text=[sentence]", "task.label=label",
            f"data.path={workspace.folder}", "data.max_length=24", *more]  # fmt: skip


def refused(capsys, *args):
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main([*map(str, args)])
    return capsys.readouterr().err.splitlines()[-1]


def rewritten(workspace, folder, name, change):
    """Write a copy of a split whose rows `change` gives, and return its path."""
    with (workspace.folder / f"{name}.csv").open(encoding="utf-8", newline="") as stream:
        rows = [change(n, row) for n, row in enumerate(csv.DictReader(stream))]
    path = folder / f"{name}.csv"
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def test_one_file_and_a_share_held_out_are_enough(workspace, tmp_path, capsys):
    out = tmp_path / "run"
    main(["finetune", *task(workspace, "task.files.train=train.csv", "data.held_out=0.25"),
          f"model.path={workspace.teacher}", f"output_dir={out}", *SHORT])  # fmt: skip
    told = capsys.readouterr().out
    assert "task.labels=[plain,relative] and task.metrics=[accuracy]: proposed from the data" in told
    assert "clauses has no validation split: the 80 examples held out are it." in told
    of_run = results(out)
    assert of_run["examples"] == {"validation": 80} and of_run["train_examples"] == 240
    assert of_run["config"]["task"]["labels"] == ["plain", "relative"]
    assert of_run["config"]["task"]["metrics"] == ["accuracy"]
    assert of_run["student"]["metrics"]["validation"]["accuracy"] > 0.9


def test_a_file_to_predict_needs_neither_labels_nor_other_files(workspace, tmp_path, capsys):
    alone = rewritten(workspace, tmp_path, "test", lambda n, row: {"sentence": row["sentence"]})
    out = tmp_path / "predicted"
    main(["evaluate", *task(workspace, f"task.files.test={alone}"), "split=test", f"model.path={workspace.teacher}",
          f"output_dir={out}"])  # fmt: skip
    told = capsys.readouterr().out
    assert "split 'test' has no column 'label' (it has sentence), so it is not scored" in told
    rows = list(csv.DictReader((out / "predictions_test.csv").open()))
    truth = [row["label"] for row in csv.DictReader((workspace.folder / "test.csv").open())]
    assert sum(row["prediction"] == label for row, label in zip(rows, truth, strict=True)) > 0.9 * len(truth)


def test_a_test_file_without_labels_disturbs_no_training(workspace, tmp_path):
    alone = rewritten(workspace, tmp_path, "test", lambda n, row: {"sentence": row["sentence"]})
    main(["distill", *workspace.task, f"task.files.test={alone}", f"teacher.path={workspace.teacher}",
          f"output_dir={tmp_path / 'run'}", "recipe=logits", *SHORT])  # fmt: skip
    assert results(tmp_path / "run")["student"]["metrics"].keys() == {"validation"}


def test_a_training_file_without_labels_is_refused(workspace, tmp_path, capsys):
    alone = rewritten(workspace, tmp_path, "train", lambda n, row: {"sentence": row["sentence"]})
    told = refused(capsys, "finetune", *workspace.task, f"task.files.train={alone}", f"model.path={workspace.encoder}",
                   f"output_dir={tmp_path / 'run'}")  # fmt: skip
    assert "split 'train' of task 'clauses' has no column 'label'" in told


@pytest.mark.parametrize("share", [1, 4])
@pytest.mark.parametrize("command", ["finetune", "distill"])
def test_hidden_labels_are_told_before_training(workspace, tmp_path, capsys, command, share):
    hidden = rewritten(
        workspace, tmp_path, "validation", lambda n, row: row | {"label": "-1" if n % share == 0 else row["label"]}
    )
    model = "model.path" if command == "finetune" else "teacher.path"
    told = refused(capsys, command, *workspace.task, f"task.files.validation={hidden}", f"{model}={workspace.teacher}",
                   f"output_dir={tmp_path / 'run'}", *SHORT)  # fmt: skip
    assert f"{80 // share} of the 80 labels of clauses validation are hidden, so it cannot be scored" in told
    assert not (tmp_path / "run" / "model.safetensors").exists()


def test_a_class_called_minus_one_is_a_class(workspace, tmp_path):
    names = {"plain": "-1", "relative": "1"}

    def renamed(n, row):
        return row | {"label": names[row["label"]]}

    files = [f"task.files.{split}={rewritten(workspace, tmp_path, split, renamed)}" for split in SPLITS]
    main(["finetune", *task(workspace, *files), "task.labels=[-1,1]", "task.metrics=[accuracy]",
          f"model.path={workspace.encoder}", f"output_dir={tmp_path / 'run'}", *SHORT])  # fmt: skip
    assert results(tmp_path / "run")["train_examples"] == 320
    assert json.loads((tmp_path / "run" / "config.json").read_text())["id2label"] == {"0": "-1", "1": "1"}


def test_ids_keep_their_zeros_in_both_files_and_stand_for_one_example(workspace, tmp_path, capsys):
    def numbered(n, row):
        return row | {"guid": f"{n:04d}"}

    files = [f"task.files.{split}={rewritten(workspace, tmp_path, split, numbered)}" for split in SPLITS]
    answers = tmp_path / "answers.csv"
    labels = [row["label"] for row in csv.DictReader((tmp_path / "train.csv").open())]
    answers.write_text("id,label\n" + "".join(f"{n:04d},{label}\n" for n, label in enumerate(labels)))
    run = ["distill", *task(workspace, *files, "task.labels=[plain,relative]", "task.metrics=[accuracy]"),
           f"teacher.outputs={answers}", "teacher.id_column=guid", f"student.path={workspace.encoder}", "recipe=logits",
           *SHORT]  # fmt: skip
    main([*run, f"output_dir={tmp_path / 'run'}"])
    assert results(tmp_path / "run")["train_examples"] == 320
    rewritten(workspace, tmp_path, "train", lambda n, row: row | {"guid": f"{n % 100:04d}"})
    told = refused(capsys, *run, f"output_dir={tmp_path / 'again'}")
    assert "rows 0 and 100 of the split 'train' have both the id 0000 in 'guid'" in told
