"""Models on the Hub, against a server on this machine that plays it: what is asked, and what is not."""

import logging

import pytest
import torch
from huggingface_hub import constants, get_cached_repo_tree, hf_hub_download
from support.model_folders import edit_json, refused_line, save_classifier

from kdfeatures.embeddings.folder import read_pooling
from kdfeatures.errors import ConfigError, UserError
from kdfeatures.hub import models, reach
from kdfeatures.models.configs import load_config
from kdfeatures.models.encoders import EncoderSpec
from kdfeatures.models.load import load_masked_model, load_trained
from kdfeatures.models.students import StudentSpec
from kdfeatures.models.teachers import OtherTeacherSettings, TeacherSettings
from kdfeatures.models.tokenizers import load_tokenizer
from kdfeatures.tasks.kinds.sequence import SequenceTask

NAME = "org/tiny"


def load(path=NAME):
    """Load all that a command loads of a teacher."""
    load_config(path, "teacher.path")
    model = load_trained(path, "teacher.path", SequenceTask(), force=True)
    return model, load_tokenizer(path, "teacher.path")


def asked(hub):
    """Return what was asked since the last call, without what huggingface_hub asks for itself."""
    seen = [request for request in hub.requests if "agent-harnesses" not in request]
    hub.requests.clear()
    return seen


def without_hub(monkeypatch, forget):
    """Let nobody listen where the Hub was."""
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    forget()


def test_a_model_is_fetched_once_and_only_what_is_read(hub):
    load()
    fetched = [
        request.rpartition("/")[2] for request in asked(hub) if request.startswith("GET") and "resolve" in request
    ]
    assert sorted(fetched) == [
        "README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip


def test_the_weights_come_after_all_that_the_config_tells(hub):
    load_config(NAME, "teacher.path")
    assert not any("safetensors" in request for request in asked(hub))


def test_what_is_all_cached_needs_no_request(hub, forget):
    first, _ = load()
    asked(hub)
    forget()
    again, tokenizer = load()
    assert asked(hub) == []
    assert torch.equal(first.classifier.weight, again.classifier.weight)
    assert again.config._name_or_path == again.name_or_path == tokenizer.name_or_path == NAME


def test_with_the_hub_down_the_cache_is_read_without_a_wait(hub, monkeypatch, forget):
    load()
    without_hub(monkeypatch, forget)
    monkeypatch.setattr(reach, "get_session", None)  # not even the probe
    load()


def by_another_program(*files):
    """Fetch files as transformers does: one by one, and without the list of all."""
    for file in files:
        hf_hub_download(NAME, file)


def test_what_other_programs_have_cached_is_taken_while_the_hub_is_down(hub, monkeypatch, forget):
    by_another_program("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    without_hub(monkeypatch, forget)
    load()


def test_what_other_programs_have_cached_is_made_whole_once(hub, forget):
    by_another_program("config.json", "model.safetensors")
    asked(hub)
    load()
    fetched = [request for request in asked(hub) if request.startswith("GET") and "resolve" in request]
    assert not any("model.safetensors" in request for request in fetched)
    assert any("tokenizer.json" in request for request in fetched)
    forget()
    load()
    assert asked(hub) == []


def moved(hub, tmp_path):
    """Let main be another commit, with another pooling of labels, and return both commits."""
    before = hub.revisions["models", NAME]["main"]
    folder = save_classifier(tmp_path / "newer")
    edit_json(folder / "config.json", layer_norm_eps=0.5)
    return before, hub.add(NAME, folder)


def test_a_branch_that_moved_is_looked_up_where_it_is_named(hub, tmp_path, forget):
    load()
    before, after = moved(hub, tmp_path)
    for path, commit in ((NAME, before), (f"{NAME}@main", after), (f"{NAME}@{before}", before)):
        forget()
        assert models.model_folder(path, "teacher.path").name == commit
        assert load_config(path, "teacher.path").layer_norm_eps == (0.5 if commit == after else 1e-12)


def test_one_process_sees_one_commit(hub, tmp_path):
    commit = models.config_folder(f"{NAME}@main", "teacher.path").name
    moved(hub, tmp_path)
    assert models.model_folder(f"{NAME}@main", "teacher.path").name == commit


def test_a_commit_that_is_cached_needs_no_request(hub, forget):
    commit = hub.revisions["models", NAME]["main"]
    load(f"{NAME}@{commit}")
    asked(hub)
    forget()
    load(f"{NAME}@{commit}")
    assert asked(hub) == []


def test_it_is_said_where_a_model_came_from_when_nobody_was_asked(hub, monkeypatch, forget, caplog):
    caplog.set_level(logging.INFO, "kdfeatures")
    load()
    assert "cache" not in caplog.text
    load(f"{NAME}@main")
    forget()
    load()
    commit = hub.revisions["models", NAME]["main"][:7]
    assert caplog.messages == [
        f"{NAME}: read from the local cache as it is there, commit {commit}; teacher.revision=main takes the newest of "
        "the Hub."
    ]
    without_hub(monkeypatch, forget)
    load(f"{NAME}@main")
    assert caplog.messages[1:] == [
        f"{NAME}@main: read from the local cache as it is there, commit {commit}, for the Hub at http://127.0.0.1:9 "
        "does not answer."
    ]


def test_weights_that_are_not_safetensors_are_fetched_where_there_are_no_others(hub, tmp_path, forget):
    model, _ = load()
    folder = save_classifier(tmp_path / "old")
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    hub.add("org/old", folder)
    old, _ = load("org/old")
    assert torch.equal(old.classifier.weight, model.classifier.weight)
    asked(hub)
    forget()
    load("org/old")
    assert asked(hub) == []


def test_a_model_of_sentence_transformers_keeps_its_pooling(hub, tmp_path):
    folder = save_classifier(tmp_path / "vectors")
    modules = '[{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]'
    (folder / "modules.json").write_text(modules)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    hub.add("org/vectors", folder)
    assert read_pooling("org/vectors", "teacher.path").mode == "cls"
    assert read_pooling(NAME, "teacher.path").mode == "mean"


@pytest.mark.parametrize("name", ["my model", "a--b", ".hidden", "x" * 100])
def test_a_name_that_no_model_can_have_is_refused_without_asking(hub, name):
    line = refused_line(load_config, name, "teacher.path")
    assert line in (
        f"teacher.path={name}: no such folder, and no model on the Hub can have this name.",
        f"teacher.path={name}: no such folder.",
    )
    assert asked(hub) == []


def test_what_the_hub_has_not_is_one_line_with_the_endpoint(hub):
    assert refused_line(load_config, "org/none", "teacher.path") == (
        f"teacher.path=org/none: no such folder, and the Hub at {hub.endpoint} has no model 'org/none' that you may "
        "read; check the name, or log in with `hf auth login` for a private one."
    )
    assert refused_line(load_config, f"{NAME}@v9", "teacher.path") == (
        f"teacher.path={NAME}@v9: the model '{NAME}' on the Hub at {hub.endpoint} has no branch, tag or commit 'v9'; "
        "leave it out to take its newest one."
    )


def test_without_the_hub_what_is_not_cached_is_one_line_with_the_endpoint(hub, monkeypatch, forget):
    without_hub(monkeypatch, forget)
    assert refused_line(load_config, NAME, "teacher.path") == (
        f"teacher.path={NAME}: no such folder, not whole in the local cache, and the Hub at http://127.0.0.1:9 does "
        "not answer; give a local folder."
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert refused_line(load_config, NAME, "teacher.path") == (
        f"teacher.path={NAME}: no such folder, and the model '{NAME}' is not in the local cache while "
        "HF_HUB_OFFLINE=1; give a local folder, or unset HF_HUB_OFFLINE."
    )


def test_weights_that_are_not_cached_are_missed_in_one_line(hub, monkeypatch, forget):
    load_config(NAME, "teacher.path")
    without_hub(monkeypatch, forget)
    load_config(NAME, "teacher.path")
    assert "not whole in the local cache" in refused_line(load_masked_model, NAME, "augmentation.mlm")


def test_the_card_is_read_of_the_cache_alone(hub, forget):
    assert models.cached_card(NAME) is None
    load()
    asked(hub)
    assert models.cached_card(NAME) == "---\nlicense: mit\n---\n"
    assert models.cached_card("no name") is None
    assert asked(hub) == []


def test_a_revision_becomes_part_of_the_path(tmp_path):
    assert models.with_revision(NAME, None, "teacher.path") == NAME
    assert models.with_revision(NAME, "v1", "teacher.path") == f"{NAME}@v1"
    assert models.without_revision(f"{NAME}@v1") == NAME
    folder = tmp_path / "a@b"
    folder.mkdir()
    assert models.without_revision(str(folder)) == str(folder)
    for path, revision, told in (
        (str(folder), "v1", f"teacher.revision=v1 is of a model on the Hub, but teacher.path={folder} is a folder"),
        (f"{NAME}@v1", "v2", f"teacher.revision=v2: teacher.path={NAME}@v1 names a revision already"),
        (NAME, " ", "is empty; name a branch"),
    ):
        with pytest.raises(UserError, match=told):
            models.with_revision(path, revision, "teacher.path")


@pytest.mark.parametrize("settings", [TeacherSettings, EncoderSpec, StudentSpec])
def test_a_revision_without_a_path_is_refused(settings):
    with pytest.raises(ConfigError, match="revision=v1 has no effect without a path"):
        settings(revision="v1")


def test_settings_name_their_source():
    assert TeacherSettings(path=NAME, revision="v1").source() == f"{NAME}@v1"
    assert OtherTeacherSettings(path=NAME, revision="v1").source("teachers.b.path") == f"{NAME}@v1"
    assert EncoderSpec(path=NAME, revision="v1").source == f"{NAME}@v1"
    assert StudentSpec(path=NAME).source == NAME


def test_the_tree_of_files_is_what_the_library_keeps(hub):
    """The list by which a cache is known to be whole is huggingface_hub's own."""
    load()
    assert "onnx/tokenizer.json" in {file.path for file in get_cached_repo_tree(NAME)}
