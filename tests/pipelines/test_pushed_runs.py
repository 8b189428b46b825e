import contextlib
import io
import json
import re
import shutil

import pytest
from support.uploading import online_hub

from kdfeatures.cli.main import main

BINARY = ("model.safetensors", "tokenizer.json")


@pytest.fixture
def pushed(workspace, monkeypatch, tmp_path):
    """Distil with these overrides and an upload, and return the folder of what was uploaded."""

    def keep(self, *, repo_id, folder_path, commit_message):
        shutil.rmtree(tmp_path / "uploaded", ignore_errors=True)
        shutil.copytree(folder_path, tmp_path / "uploaded")

    monkeypatch.setattr(online_hub(monkeypatch), "upload_folder", keep)

    def distil(name, *overrides):
        workspace.distil(name, "push_to_hub=me/student", *overrides)
        return tmp_path / "uploaded"

    return distil


def test_the_student_is_uploaded_with_tokenizer_card_and_results_and_no_local_path(pushed, workspace):
    options = ["recipe=tinybert", "trainer.save_strategy=epoch", "stages.intermediate.trainer.num_train_epochs=1"]
    uploaded = pushed("pushed", *options)
    assert sorted(file.name for file in uploaded.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "results.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    for file in uploaded.iterdir():
        if file.name not in BINARY:
            text = file.read_text(encoding="utf-8")
            assert not re.search(r"/(home|root|tmp|work|Users)/|pytest", text), file.name
    assert 'model="me/student"' in (uploaded / "README.md").read_text()
    results = json.loads((uploaded / "results.json").read_text())
    assert results["teacher"]["path"] == "teacher" and results["config"]["output_dir"] == "pushed"
    # a finished run can be uploaded once more, and is the same
    first = {file.name: file.read_bytes() for file in uploaded.iterdir()}
    shutil.rmtree(uploaded)
    pushed("pushed", *options, "existing=resume")
    assert {file.name: file.read_bytes() for file in uploaded.iterdir()} == first
    # what is kept here still knows its paths
    assert json.loads((workspace.folder / "pushed" / "results.json").read_text())["teacher"]["path"].startswith("/")
    of_stage = (workspace.folder / "pushed" / "stages" / "2-prediction" / "README.md").read_text()
    assert 'model="2-prediction"' in of_stage


def test_the_cards_snippet_loads_the_student_and_asks_it(pushed, workspace, monkeypatch):
    workspace.distil("told", "recipe=logits", "student.layers=1")
    folder = workspace.folder / "told"
    (snippet,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), flags=re.DOTALL)
    monkeypatch.chdir(folder.parent)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(snippet, {})
    assert re.search(r"'label': '(plain|relative)'", said.getvalue())


def test_a_run_that_could_not_be_uploaded_is_refused_before_it_begins(workspace, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(
            ["finetune", *workspace.task, f"model.path={workspace.encoder}", "push_to_hub=me/teacher"]
            + [f"output_dir={workspace.folder / 'never'}"]
        )
    assert "push_to_hub=me/teacher needs the Hub, but HF_HUB_OFFLINE=1" in capsys.readouterr().err
    assert not (workspace.folder / "never" / "model.safetensors").exists()
