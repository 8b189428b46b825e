"""Weights that are not there, not weights, or not whole."""

import pickle

import pytest
import torch
from support.model_folders import refused_line, save_classifier
from support.shared_data import glue_task
from support.tiny import tiny_classifier

from kdfeatures.models.load import load_for_task
from kdfeatures.models.tokenizers import load_tokenizer

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 438\n"
NO_WEIGHTS = "its .bin file holds other things than weights, or is damaged, and is not run"


def told(folder):
    line = refused_line(load_for_task, str(folder), "model.path", glue_task("rte"))
    assert line.startswith(f"model.path={folder}")
    return line


@pytest.fixture
def folder(tmp_path):
    return save_classifier(tmp_path / "model")


@pytest.fixture
def pickled(folder):
    (folder / "model.safetensors").unlink()
    return folder / "pytorch_model.bin"


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_pointer_of_git_lfs_is_told_from_the_file(folder, name):
    (folder / name).write_text(POINTER)
    assert f"{name} is a pointer of git-lfs and not the file itself; fetch it with `git lfs pull`." in told(folder)
    assert "is a pointer of git-lfs" in refused_line(load_tokenizer, str(folder), "model.path")


def test_a_whole_pickled_model_is_not_run(folder, pickled):
    torch.save(tiny_classifier(), pickled)
    assert NO_WEIGHTS in told(folder)


def test_a_plain_pickle_is_not_run(folder, pickled):
    pickled.write_bytes(pickle.dumps({"weights": 1}))
    assert NO_WEIGHTS in told(folder)


def test_weights_that_were_cut_short_are_one_line(folder, pickled):
    torch.save(tiny_classifier().state_dict(), pickled)
    pickled.write_bytes(pickled.read_bytes()[:2000])
    assert "holds no model that can be loaded: " in told(folder)


def test_pickled_weights_are_loaded(folder, pickled):
    model = tiny_classifier()
    torch.save(model.state_dict(), pickled)
    loaded = load_for_task(str(folder), "model.path", glue_task("rte"))
    assert torch.equal(loaded.classifier.weight, model.classifier.weight)


@pytest.mark.parametrize("with_weights", [True, False])
def test_an_adapter_is_to_be_merged_first(folder, with_weights):
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "b"}')
    if not with_weights:
        (folder / "model.safetensors").unlink()
        (folder / "config.json").unlink()
    assert "holds an adapter (adapter_config.json) and not a whole model; merge it" in told(folder)
