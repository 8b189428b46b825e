"""kdfeatures push: shown without the Hub, and uploaded to a server on this machine that plays it."""

import json

import pytest
from huggingface_hub import constants
from support.carded import told_results
from support.local_hub import LocalHub
from support.model_folders import save_classifier

from kdfeatures.cli.main import main
from kdfeatures.hub import reach
from kdfeatures.runs.publishing import origins


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A finished run in `run`, seen from the folder above it."""
    monkeypatch.chdir(tmp_path)
    folder = save_classifier(tmp_path / "run")
    (folder / "training_args.bin").write_bytes(b"of this machine")
    results = told_results() | {"command": "distill", "base_models": ["org/encoder"], "hub": []}
    (folder / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture
def hub(monkeypatch):
    hub = LocalHub()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(reach, "_answered", {})
    monkeypatch.setenv("HF_TOKEN", "hf_token")
    with hub.running():
        monkeypatch.setattr(constants, "ENDPOINT", hub.endpoint)
        yield hub


def fails(capsys, *line):
    with pytest.raises(SystemExit, match="2"):
        main(["push", *line])
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    return err.removeprefix("kdfeatures: error: ").strip()


def test_a_dry_run_shows_files_and_card_and_asks_nobody(run, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    monkeypatch.setattr(reach, "get_session", None)
    main(["push", "run", "me/student"])
    out = capsys.readouterr().out
    weights = (run / "model.safetensors").stat().st_size
    assert "# me/student" in out and 'model="me/student"' in out
    assert any(line.split("|")[1:3] and "model.safetensors" in line for line in out.splitlines())
    assert f"{weights / 1e6:.1f} MB" in out or f"{weights / 1e3:.1f} kB" in out
    assert "training_args.bin" not in out
    assert "`org/encoder` (licence not known here)" in out
    assert out.endswith("Nothing was uploaded; dry_run=false uploads these to me/student.\n")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_what_is_shown_is_what_is_uploaded(run, hub, capsys):
    main(["push", "run", "me/student", "dry_run=false", "hub_private=true"])
    out = capsys.readouterr().out
    sent = hub.uploaded["me/student"]
    assert sent["model.safetensors"] == (run / "model.safetensors").read_bytes()
    assert sorted(sent) == [
        "README.md", "config.json", "model.safetensors", "results.json", "tokenizer.json", "tokenizer_config.json"
    ]  # fmt: skip
    assert sent["README.md"].decode().strip() in out
    assert out.endswith(f"Uploaded to {hub.endpoint}/me/student\n")
    assert hub.made["me/student"] in (True, "private")


def test_what_cannot_be_pushed_is_one_line(run, tmp_path, capsys, monkeypatch):
    assert fails(capsys, "run") == "nothing to push: say which run and where, kdfeatures push RUN ORGANISATION/NAME."
    assert fails(capsys, "none", "me/it").startswith("run=none is no folder")
    assert "no repository on the Hub can have this name" in fails(capsys, "run", "a/b/c")
    assert "but HF_HUB_OFFLINE=1" in fails(capsys, "run", "me/it", "dry_run=false")
    (run / "results.json").write_text(json.dumps({"command": "export"}))
    assert fails(capsys, "run", "me/it").startswith("run=run is of export and holds no model to upload")


def test_a_hub_that_refuses_is_one_line_and_the_run_stays(run, hub, capsys, monkeypatch):
    monkeypatch.setattr("kdfeatures.cli.commands.push.push", lambda *_, **__: (_ for _ in ()).throw(OSError("403\nno")))
    told = fails(capsys, "run", "me/it", "dry_run=false")
    assert told == "repository=me/it: the run in run was not uploaded: 403"


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: unknown\n---\n", None),
        ("---\n: [\n---", None),
        (None, None),
    ],
)
def test_the_licence_is_that_of_the_models_card(card, licence, monkeypatch):
    monkeypatch.setattr(origins, "cached_card", lambda name: card)
    assert origins.licences(["org/encoder"]) == {"org/encoder": licence}
    assert (licence or "licence not known here") in origins.licences_text({"org/encoder": licence})


def test_the_trials_are_those_that_the_grid_above_counted(tmp_path):
    results = told_results()
    rate = results["config"]["trainer"]["learning_rate"]
    folder = tmp_path / "grid" / "mrpc" / "my_arm" / f"learning_rate-{rate:g}" / "seed-1"
    folder.mkdir(parents=True)
    assert origins.trials_of(folder, results) is None
    row = {"task": "mrpc", "arm": "my arm", "learning_rate": rate, "trials": 40}
    others = [row | {"arm": "other", "trials": 2}, row | {"task": "cola", "trials": 3}]
    (tmp_path / "grid" / "results.json").write_text(json.dumps({"command": "search", "rows": [*others, row]}))
    assert origins.trials_of(folder, results) == 40
    assert "the best of 40 trials" in origins.trials_text(40)
    assert "not searched for" in origins.trials_text(0)
