"""Files that a stranger wrote: what they name is not called, whatever they say of themselves."""

from __future__ import annotations

import json
import sys

import hydra.utils
import pytest
from support.composing import plain
from support.inspected import inspect_call, save_encoders
from support.tiny import tiny_classifier

from kdfeatures.cli.main import main
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.pipelines.rebuild_student import rebuilt

TARGETS = [
    "numpy.load", "joblib.load", "pandas.read_pickle", "builtins.open", "builtins.exec", "os.system", "torch.load",
    "subprocess.Popen", "sympy.sympify", "kdfeatures.runs.manifest._set_aside", "kdfeatures.cli.main.main",
    "hydra.utils.instantiate",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _user(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", sys.argv)


@pytest.fixture
def refused(capfd):
    """Return a function that runs a command and returns the one line it says."""

    def run(*argv):
        with pytest.raises(SystemExit) as stopped:
            main(list(argv))
        err = (
            capfd.readouterr().err.rpartition("\r")[2].rpartition("it/s]\n")[2]
        )  # behind bars of the test's own models
        assert stopped.value.code == 2 and err.count("\n") == 1, err
        return err

    return run


def write_experiment(tmp_path, text, name="evil", group="experiment"):
    folder = tmp_path / "strange" / group
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.yaml").write_text(text)
    return ["--config-dir", str(tmp_path / "strange")]


def distill_with(refused, tmp_path, text, *overrides):
    given = write_experiment(tmp_path, text)
    told = refused("distill", *given, "experiment=evil", "output_dir=out", *overrides)
    assert not (tmp_path / "out").exists() and not (tmp_path / "ran").exists()
    return told


@pytest.mark.parametrize("target", TARGETS)
def test_a_callback_of_an_experiment_does_not_run(refused, tmp_path, target):
    text = f"# @package _global_\nhydra:\n  callbacks:\n    x: {{_target_: {target}, file: {tmp_path}/ran, mode: w}}\n"
    told = distill_with(refused, tmp_path, text)
    assert "sets hydra, by which Hydra runs code" in told and "allow_targets=[hydra]" in told


@pytest.mark.parametrize(
    ("node", "what"),
    [
        ("hydra: {run: {dir: /tmp}}", "hydra"),
        ("hydra: {job: {env_set: {LD_PRELOAD: x}}}", "hydra"),
        ("hydra: {job_logging: {handlers: {x: {(): os.system, command: touch ran}}}}", "hydra"),
        ("hydra: {sweeper: {_target_: os.system}}", "hydra"),
        ("defaults:\n  - override /hydra/launcher: joblib", "hydra/launcher"),
        ("defaults:\n  - /hydra/callbacks@hydra.callbacks.x: mine", "hydra.callbacks.x"),
    ],
)
def test_no_file_of_a_caller_fills_the_node_of_hydra(refused, tmp_path, node, what):
    write_experiment(tmp_path, "_target_: os.system\n", name="mine", group="hydra/callbacks")
    told = distill_with(refused, tmp_path, f"# @package _global_\n{node}\n")
    assert f"sets {what}, by which Hydra runs code" in told


def test_a_package_line_does_not_hide_it(refused, tmp_path):
    told = distill_with(refused, tmp_path, "# @package hydra.callbacks.x\n_target_: os.system\ncommand: touch ran\n")
    assert "sets hydra.callbacks.x" in told


def test_what_the_command_line_allows_is_still_hydras_own(refused, tmp_path):
    text = "# @package _global_\nhydra:\n  callbacks:\n    x: {_target_: builtins.open, file: ran, mode: w}\n"
    told = distill_with(refused, tmp_path, text, "allow_targets=[hydra]")
    assert "hydra.callbacks.x._target_=builtins.open is not Hydra's own" in told


@pytest.mark.parametrize(
    "override",
    [
        "+hydra.callbacks.x={_target_: numpy.load, file: ran}",
        "hydra.job_logging.handlers.console.class=os.system",
        "hydra.job_logging.handlers.console.stream=ext://os.environ",
    ],
)
def test_a_target_that_is_not_hydras_needs_a_word_on_the_command_line_too(refused, override):
    assert "is not Hydra's own; if you trust it, write allow_targets=[" in refused("distill", override)


@pytest.mark.parametrize("flag", ["-cp", "--config-path", "-cn", "--config-name", "--experimental-rerun"])
def test_flags_by_which_other_files_would_be_the_command_are_refused(refused, tmp_path, flag):
    assert "would " in refused("distill", flag, str(tmp_path))


def test_trust_in_a_file_is_no_permission(refused, tmp_path):
    text = "# @package _global_\nallow_targets: [os]\nlosses: {extra: {_target_: os.system, weight: 1.0}}\n"
    assert "what a file says is no permission to run code" in distill_with(refused, tmp_path, text)


@pytest.mark.parametrize("target", TARGETS)
def test_an_experiment_names_no_target_of_its_own(refused, tmp_path, target):
    text = f"# @package _global_\nlosses: {{extra: {{_target_: {target}, weight: 1.0}}}}\n"
    told = distill_with(refused, tmp_path, text)
    assert f"losses.extra._target_={target} is " in told


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    return save_encoders(tmp_path_factory.mktemp("encoders"))


@pytest.mark.parametrize("place", ["losses", "mapping", "projection", "heads", "stages"])
@pytest.mark.parametrize("target", TARGETS)
def test_results_beside_a_model_call_nothing(encoders, monkeypatch, place, target):
    """results.json names its own targets, and says itself that they are allowed."""
    called = []
    make = hydra.utils.instantiate
    monkeypatch.setattr(
        hydra.utils, "instantiate", lambda node, *args: called.append(node["_target_"]) or make(node, *args)
    )
    teacher = str(encoders / "teacher")
    (encoders / "student" / "results.json").write_text(json.dumps(strange_results(place, target, teacher)))
    before = rebuilt(str(encoders / "student"), teacher)
    assert target not in called and not (encoders / "ran").exists()
    if place == "stages":  # the others have no part in how a student began
        assert before.model is None and "does not tell how the student began" in before.note


def test_a_page_is_made_beside_such_results(encoders):
    results = strange_results("stages", "os.system", str(encoders / "teacher"))
    (encoders / "student" / "results.json").write_text(json.dumps(results))
    main(inspect_call(encoders, "page"))
    note = json.loads((encoders / "page" / "results.json").read_text())["before"]
    assert "does not tell how the student began (stages.a.mapping._target_=os.system is outside kdfeatures" in note


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"null", b"{", b"\x00\xff\xfe", b'{"config": 1}', b"[" * 100_000, b"1e999"]
)
def test_results_that_are_none_are_named_and_break_nothing(encoders, refused, content, tmp_path):
    (encoders / "student" / "results.json").write_bytes(content)
    assert rebuilt(str(encoders / "student"), str(encoders / "teacher")).model is None
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "results.json").write_bytes(content)
    assert "runs" in refused("compare", "runs=runs")


def strange_results(place, target, teacher):
    config = {**plain("distill", "recipe=tinybert_joint"), "allow_targets": [target.split(".")[0], "os", "numpy"]}
    node = {"_target_": target, "file": "ran", "weight": 1.0}
    if place == "stages":
        config["stages"] = {"a": {"each_pair": True, "mapping": node}}
    elif place == "losses":
        config["losses"] = {"a": node}
    else:
        config[place] = node
    return {"command": "distill", "config": config, "student": {"layers": 2}, "teacher": {"path": teacher}}


@pytest.mark.parametrize("model_type", ["bert", "never-heard-of"])
def test_code_in_a_models_folder_is_not_run_and_not_asked_about(refused, tmp_path, model_type, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *args: pytest.fail("asked on standard input"))
    folder = tmp_path / "model"
    tiny_classifier(layers=2).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    (folder / "modeling_x.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = model_type
    config["auto_map"] = {name: "modeling_x.Model" for name in ("AutoConfig", "AutoModelForSequenceClassification")}
    (folder / "config.json").write_text(json.dumps(config))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    settings["auto_map"] = {"AutoTokenizer": ["modeling_x.Tokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    told = refused("distill", "task=agreement", f"teacher.path={folder}", "student.layers=1", "output_dir=out",
                   "recipe=hard", "data.labelled=70000")  # fmt: skip
    assert not (tmp_path / "ran").exists()
    assert ("brings its own Python code (auto_map" in told) == (model_type != "bert"), told


def test_no_pickle_of_a_models_folder_runs(refused, tmp_path):
    import pickle

    class Runs:
        def __reduce__(self):
            return open, (str(tmp_path / "ran"), "w")

    folder = tmp_path / "model"
    tiny_classifier(layers=2).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Runs()))
    told = refused("evaluate", "task=agreement", f"model.path={folder}", "output_dir=out")
    assert "holds no model that can be loaded" in told and not (tmp_path / "ran").exists()
