import importlib
import json
from types import SimpleNamespace

import pytest
from huggingface_hub import ModelCard, constants
from huggingface_hub.errors import HfHubHTTPError
from support.carded import told_results
from support.composing import compose
from support.shared_data import glue_task
from support.uploading import online_hub

from kdfeatures.cli.spoken import spoken
from kdfeatures.errors import UserError
from kdfeatures.hub import reach as hub
from kdfeatures.runs.publishing import upload as push


@pytest.fixture
def online(monkeypatch):
    return online_hub(monkeypatch)


@pytest.fixture(params=["finetune", "distill"])
def run(request, tmp_path, monkeypatch):
    """A command that is pushed as its runs are, and notes that it ran instead."""
    ran = []
    monkeypatch.setattr(push, "stage", lambda *arguments: None)

    def noted(settings, output_dir, *more):
        ran.append(output_dir)
        return SimpleNamespace(as_dict=lambda: {"command": "distill"})

    monkeypatch.setattr(f"kdfeatures.pipelines.{request.param}._run", noted)
    command = importlib.import_module(f"kdfeatures.cli.commands.{request.param}").run

    def call(repository, private=None):
        cfg = compose(request.param, "task=mrpc")
        cfg.push_to_hub, cfg.hub_private = repository, private
        with spoken():
            return command(cfg, tmp_path)

    return SimpleNamespace(call=call, ran=ran)


def test_without_a_repository_nothing_is_asked(run, monkeypatch):
    monkeypatch.setattr(push, "require_upload", None)
    assert run.call(None) == {"command": "distill"}


def test_a_finished_run_is_uploaded_and_the_address_told(run, online, capsys):
    assert run.call("me/student") == {"command": "distill"}
    assert online.made == {"me/student": None}
    assert online.uploaded == {"me/student": "Upload distill run"}
    assert capsys.readouterr().out == "Uploaded to https://hub/me/student\n"


def test_a_repository_is_private_where_that_is_asked_for(run, online):
    run.call("me/student", private=True)
    assert online.made == {"me/student": True}


def test_what_is_uploaded_names_folders_and_not_where_they_were_whoever_uploads_it(tmp_path, monkeypatch):
    """A relative path that is not there any more looks like an id of the Hub."""
    folder, staged = tmp_path / "run", tmp_path / "staged"
    folder.mkdir(), staged.mkdir()
    results = told_results("logits", "teacher.path=teachers/mrpc", "data.path=data/glue", "output_dir=students/one")
    results["teacher"]["path"] = "teachers/mrpc"
    push.stage(folder, staged, "me/student", results | {"base_models": ["org/encoder"], "hub": []}, glue_task("mrpc"))
    uploaded = json.loads((staged / "results.json").read_text())
    assert uploaded["teacher"]["path"] == uploaded["config"]["teacher"]["path"] == "mrpc"
    assert (uploaded["config"]["data"]["path"], uploaded["config"]["output_dir"]) == ("glue", "one")
    card = ModelCard.load(staged / "README.md")
    assert card.data.base_model == ["org/encoder"] and "teachers/mrpc" not in str(card)


def test_an_upload_that_fails_tells_that_the_run_is_finished(run, online, monkeypatch, tmp_path):
    def refuse(self, **options):
        raise ConnectionError("403 Forbidden\nlong story")

    monkeypatch.setattr(online, "upload_folder", refuse)
    with pytest.raises(UserError) as caught:
        run.call("me/student")
    assert str(caught.value) == (
        f"push_to_hub=me/student: the run is finished in {tmp_path}, but was not uploaded: 403 Forbidden; "
        "go on with existing=resume."
    )
    assert run.ran == [tmp_path]


def refused(run, repository):
    with pytest.raises(UserError) as caught:
        run.call(repository)
    assert run.ran == [] and "\n" not in str(caught.value)
    return str(caught.value)


def test_what_cannot_be_uploaded_is_refused_before_the_run(run, online, monkeypatch):
    assert refused(run, True) == "push_to_hub=True must be text."
    with pytest.raises(UserError, match="hub_private: Value 'yes please' is not a valid bool"):
        run.call("me/student", private="yes please")
    assert "push_to_hub=a/b/c: no repository on the Hub can have this name" in refused(run, "a/b/c")
    online.error = HfHubHTTPError("401", response=SimpleNamespace(headers={}, request=None))
    assert "the Hub does not take the token; run `hf auth login`, or set HF_TOKEN." in refused(run, "me/student")
    monkeypatch.setattr(hub, "get_session", lambda: SimpleNamespace())
    monkeypatch.setattr(hub, "_answered", {})
    assert f"the Hub at {constants.ENDPOINT} does not answer" in refused(run, "me/student")
    monkeypatch.setattr(hub, "get_token", lambda: None)
    assert "needs a token of the Hub; run `hf auth login`, or set HF_TOKEN." in refused(run, "me/student")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert "needs the Hub, but HF_HUB_OFFLINE=1; unset it, or do not upload." in refused(run, "me/student")


def test_the_tokenizers_settings_do_not_say_where_it_was_read_from(tmp_path, monkeypatch):
    monkeypatch.setattr(push, "write_card", lambda *arguments, **options: None)
    folder, staged = tmp_path / "run", tmp_path / "staged"
    folder.mkdir(), staged.mkdir()
    settings = {"model_max_length": 64, "name_or_path": "/home/me/x", "is_local": True, "local_files_only": True}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    push.stage(folder, staged, "me/student", {}, None)
    assert json.loads((staged / "tokenizer_config.json").read_text()) == {"model_max_length": 64}
