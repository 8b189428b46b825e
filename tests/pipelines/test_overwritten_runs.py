"""existing=overwrite and resume on whole runs: nothing is lost to a mistake, and no run is taken for another."""

import json
import shutil

import pytest

from kdfeatures.cli.main import main
from kdfeatures.runs.manifest import REPLACED

SHORT = ["trainer.max_steps=4", "trainer.eval_strategy=no", "trainer.disable_tqdm=true"]


def tree(folder):
    """Return all files below a folder but Hydra's, with when they were written."""
    files = (path for path in folder.rglob("*") if path.is_file() and ".hydra" not in path.parts)
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in files if path.suffix != ".log"}


@pytest.fixture
def run(workspace, tmp_path):
    """A copy of a finished fine-tuned model, to be put at risk."""
    return shutil.copytree(workspace.teacher, tmp_path / "run")


def refused(capsys, *args):
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        main([*map(str, args)])
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("command", ["evaluate", "finetune", "export"])
def test_a_model_that_is_read_is_not_removed(workspace, capsys, run, command):
    before = tree(run)
    for existing in ("refuse", "overwrite"):
        told = refused(
            capsys, command, *workspace.task, f"model.path={run}", f"output_dir={run}", f"existing={existing}"
        )
        assert f"model.path={run} is the folder output_dir={run} that the run would write to; choose another" in told
        assert tree(run) == before


def test_a_teacher_and_a_student_that_are_read_are_not_removed(workspace, capsys, run):
    before = tree(run)
    distil = ["distill", *workspace.task, f"output_dir={run}", "existing=overwrite"]
    assert "teacher.path=" in refused(capsys, *distil, f"teacher.path={run}")
    assert "student.path=" in refused(capsys, *distil, f"teacher.path={workspace.teacher}", f"student.path={run}")
    inspect = ["inspect", *workspace.task, f"teacher.path={workspace.teacher}", f"student.path={run}"]
    assert "student.path=" in refused(capsys, *inspect, f"output_dir={run}", "existing=overwrite")
    assert tree(run) == before


@pytest.mark.parametrize(
    "mistake",
    [
        "model.path=/nowhere",
        "task.label=lable",
        "data.train_examples=9999",
        "trainer.metric_for_best_model=f2",
        "split=tset",
    ],
)
def test_a_mistake_costs_a_finished_run_nothing(workspace, capsys, run, mistake):
    before = tree(run)
    refused(
        capsys, "finetune", *workspace.task, f"model.path={workspace.encoder}", f"output_dir={run}",
        "existing=overwrite", *SHORT, mistake,
    )  # fmt: skip
    assert tree(run) == before


def test_a_run_that_breaks_off_while_it_overwrites_leaves_the_old_one_whole(workspace, run, monkeypatch):
    old = {name: (run / name).read_bytes() for name in ("results.json", "model.safetensors")}
    (run / "notes.txt").write_text("mine")
    again = ["finetune", *workspace.task, f"model.path={workspace.encoder}", f"output_dir={run}", *SHORT]
    with monkeypatch.context() as patch:
        patch.setattr("kdfeatures.pipelines.finetune.save_run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            main([*again, "existing=overwrite"])
    assert {name: (run / REPLACED / name).read_bytes() for name in old} == old
    assert not (run / "results.json").exists() and (run / "notes.txt").read_text() == "mine"
    main([*again, "existing=overwrite"])
    assert not (run / REPLACED).exists()
    assert json.loads((run / "results.json").read_text())["config"]["trainer"]["max_steps"] == 4


@pytest.mark.parametrize(
    "override",
    ["seed=2", "trainer.learning_rate=1e-4", "mapping=last", "losses.logits.weight=3", "student.layers=1",
     "data.labelled=10", "losses.logits.temperature=9", "teacher.force=true", "trainer.max_steps=6"],
)  # fmt: skip
def test_an_unfinished_run_is_not_resumed_with_other_settings(workspace, capsys, override):
    folder = workspace.folder / "unfinished"
    if not folder.exists():
        workspace.distil("unfinished", "recipe=logits", "trainer.max_steps=4", "trainer.eval_strategy=no")
        (folder / "results.json").unlink()
    settings = ["trainer.learning_rate=2e-3", "trainer.num_train_epochs=1", "trainer.disable_tqdm=true"]
    command = ["distill", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={folder}", *settings,
               "recipe=logits", "trainer.max_steps=4", "trainer.eval_strategy=no", "existing=resume"]  # fmt: skip
    assert "holds an unfinished run with " in refused(capsys, *command, override)
