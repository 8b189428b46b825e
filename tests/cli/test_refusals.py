"""A call that is refused leaves every folder as it was: no file is written, changed or touched, and no folder made."""

import json
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from support.tiny import tiny_classifier

from kdfeatures.cli.main import main
from kdfeatures.cli.refusals import existing_root, remove_empty
from kdfeatures.data.synthetic import tokenizer

TASK = ["task=agreement"]
# calls that are refused once models and data are read, or before; MODEL is a folder with a classifier
REFUSED = {
    "finetune": [*TASK, "model.path=MODEL", "split=none"],
    "distill": [*TASK, "teacher.path=MODEL", "student.layers=2", "data.max_length=3"],
    "evaluate": [*TASK, "model.path=MODEL", "split=none"],
    "export": [*TASK, "model.path=MODEL", "split=none"],
    "inspect": [*TASK, "teacher.path=MODEL", "student.path=MODEL", "split=none"],
    "cache": [*TASK, "teacher.path=MODEL", "student.layers=9", "cache.path=kept"],
    "compare": ["runs=empty"],
    "glue": ["task=cola", "data.path=empty", "teacher.root=empty"],
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A working folder with a classifier and an empty folder."""
    monkeypatch.chdir(tmp_path)
    tiny_classifier(id2label={0: "unacceptable", 1: "acceptable"}).save_pretrained(tmp_path / "MODEL")
    tokenizer().save_pretrained(tmp_path / "MODEL")
    (tmp_path / "empty").mkdir()
    return tmp_path


def tree(folder: Path) -> dict[str, tuple[bytes, int] | None]:
    """Return all below a folder: of files the content, and when they were written."""
    return {
        str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) if path.is_file() else None
        for path in folder.rglob("*")
    }


def refused(*line: str) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(line))
    assert ended.value.code == 2


@pytest.mark.parametrize("command", REFUSED)
def test_a_refused_call_leaves_the_tree_as_it_was(command, folder, capsys):
    before = tree(folder)
    refused(command, *REFUSED[command], *([] if command == "compare" else ["output_dir=deep/below/out"]))
    assert tree(folder) == before, capsys.readouterr().err


@pytest.mark.parametrize("begun", [{"results.json": "{}"}, {"run.json": "{}"}, {"notes.txt": "mine"}], ids=str)
def test_what_lies_in_the_folder_of_a_refused_call_is_not_touched(begun, folder):
    out = folder / "out"
    (out / ".hydra").mkdir(parents=True)
    for name, text in {**begun, ".hydra/config.yaml": "of the first run"}.items():
        (out / name).write_text(text)
    before = tree(folder)
    refused("evaluate", *REFUSED["evaluate"], "output_dir=out", "existing=resume")
    assert tree(folder) == before


@pytest.mark.slow
def test_resuming_a_finished_run_with_other_options_is_refused_without_a_trace(folder):
    call = ["evaluate", *TASK, "model.path=MODEL", "output_dir=out"]
    main(call)
    assert json.loads((folder / "out" / "results.json").read_text())["command"] == "evaluate"
    assert "model.path=MODEL" in (folder / "out" / ".hydra" / "overrides.yaml").read_text()
    assert "split: validation" in (folder / "out" / ".hydra" / "config.yaml").read_text()
    node = OmegaConf.load(folder / "out" / ".hydra" / "hydra.yaml").hydra
    assert node.job.name == "evaluate" and "model.path=MODEL" in node.overrides.task
    assert (
        node.help.footer.count("\n") > 1 and "${hydra.help.header}" in OmegaConf.to_container(node)["help"]["template"]
    )
    before = tree(folder)
    refused(*call, "existing=resume", "data.max_length=7")
    assert tree(folder) == before
    main([*call, "existing=resume"])  # all is there: nothing is to be done
    assert tree(folder) == before


def test_a_refused_job_of_a_sweep_leaves_no_folder(folder):
    refused("evaluate", "-m", *TASK, "model.path=MODEL", "split=none,neither", "output_dir=out")
    assert [path.name for path in (folder / "out").iterdir() if path.is_dir()] == []


def test_only_empty_folders_are_removed(tmp_path):
    below = tmp_path / "a" / "b" / "c"
    root = existing_root(str(below))
    below.mkdir(parents=True)
    (tmp_path / "a" / "kept").touch()
    remove_empty(below, root)
    assert sorted(os.listdir(tmp_path / "a")) == ["kept"]
