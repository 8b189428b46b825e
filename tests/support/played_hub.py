"""A server on this machine that plays the Hub, with an empty cache before it."""

import datasets
import pytest
from huggingface_hub import constants
from support.local_hub import LocalHub
from support.model_folders import save_classifier

from kdfeatures.hub import data, models, reach

NAME = "org/tiny"


@pytest.fixture
def forget(monkeypatch):
    """Return what lets this process forget what it knows of the Hub, as a new one would."""

    def forget():
        for module, known in ((reach, "_answered"), (models, "_commits"), (models, "_unasked"), (data, "_commits")):
            monkeypatch.setattr(module, known, {})

    return forget


@pytest.fixture
def hub(tmp_path, monkeypatch, forget):
    """A Hub with a tiny classifier, and an empty cache."""
    hub = LocalHub()
    folder = save_classifier(tmp_path / "model")
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "tokenizer.json").write_text("{}")
    (folder / "flax_model.msgpack").write_bytes(b"x")
    hub.add(NAME, folder)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "tables")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", False)
    forget()
    with hub.running():
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        monkeypatch.setattr(datasets.config, "HF_ENDPOINT", hub.endpoint)
        template = f"{hub.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield hub
