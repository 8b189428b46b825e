import json

import pytest
import safetensors.torch
import torch

from kdfeatures.cli.main import main

OPTIONS = ["recipe=minilmv2_joint", "+loss@losses.hidden=hidden_mse", "losses.relations.relation_heads=8",
"student.init=random",
           "student.layers=2", "student.hidden_size=24", "student.heads=2", "trainer.learning_rate=2e-3",
           "trainer.disable_tqdm=true"]  # fmt: skip


def explain(workspace, *overrides):
    main(["explain", *workspace.task, f"teacher.path={workspace.teacher}", *overrides])


@pytest.fixture
def empty(tmp_path, monkeypatch):
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_explain_tells_the_first_step_of_a_run_and_a_run_that_explains_itself_trains_the_same(
    workspace, tmp_path, empty, capsys
):
    explain(workspace, *OPTIONS, f"output_dir={tmp_path / 'report'}")
    told = capsys.readouterr().out
    short = [*OPTIONS, "trainer.logging_steps=1", "trainer.max_steps=3"]
    plain, explaining = (workspace.distil(f"explained_{flag}", *short, f"explain={flag}") for flag in ("false", "true"))
    said = capsys.readouterr().out
    assert not list(empty.iterdir())

    report = json.loads((tmp_path / "report" / "results.json").read_text())["stages"][""]
    assert plain["report"] is None and explaining["report"] == report
    folders = [workspace.folder / f"explained_{flag}" for flag in ("false", "true")]
    weights = [safetensors.torch.load_file(folder / "model.safetensors") for folder in folders]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())

    first = json.loads((folders[0] / "trainer_state.json").read_text())["log_history"][0]
    found = report["first_batch"]
    assert found["step"] == 1 and found["texts"] == 32
    for name, term in found["terms"].items():
        assert round(term["value"], 6) == first[f"loss/{name}"]
        assert term["gradient"] > 0
    assert found["total"]["value"] == pytest.approx(first["loss"], rel=1e-6)
    assert found["terms"]["hidden"]["projections"] > 0 == found["terms"]["logits"]["projections"]
    for text in (
        "RelationKL, relation_heads=8",
        "(B, L, 24) -> (B, L, 32)",
        "T = 2, factor T^2",
        "Batch of step 1: 32 texts",
    ):
        assert text in told and text in said
    assert max(map(len, told.splitlines())) <= 120


def test_every_stage_is_explained(workspace, empty, capsys):
    explain(workspace, "recipe=tinybert", "student.layers=2")
    told = capsys.readouterr().out
    assert "stage 1 of 2: intermediate" in told and "stage 2 of 2: prediction" in told
    assert told.count("Batch of step 1:") == 2 and "since nothing was trained" in told
    assert not list(empty.iterdir())


def test_without_a_teacher_the_sizes_of_the_one_to_be_trained_are_told_and_nothing_is_measured(empty, capsys):
    main(["explain", "recipe=pkd", "task=agreement"])
    told = capsys.readouterr().out
    assert "Student 2 x 64 with 4 heads, teacher 4 x 64 with 4 heads." in told
    assert "kdfeatures finetune task=agreement" in told and "Batch of" not in told
    assert not list(empty.iterdir())


def test_settings_for_long_runs_do_not_matter(workspace, empty, capsys):
    explain(workspace, "recipe=logits", "student.layers=1", "trainer.load_best_model_at_end=true",
            "trainer.early_stopping_patience=2", "trainer.report_to=none", "cache=auto",
            f"cache.path={empty / 'cache'}")  # fmt: skip
    assert "Batch of step 1" in capsys.readouterr().out
    assert not list(empty.iterdir())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["recipe=hidden_joint", "losses.hidden.weight=-1"], "losses.hidden.weight=-1 must be"),
        (["task=mrpc"], "task=mrpc needs a teacher"),
        (["recipe=nothing"], "unknown recipe 'nothing'"),
        (["-m", "recipe=hard,logits"], "reports on one run at a time; leave out -m"),
        (["explain=perhaps"], "explain: Value 'perhaps' is not a valid bool"),
        (["balance=shares", "balance.shares={hiden: 2}"], "balance.shares.hiden names no term; did you mean 'hidden'"),
        (["balance=shares", "balance.shares={hidden: 0}"], "balance.shares.hidden=0.0 must be a finite number above 0"),
        (["balance=shares", "balance.shares={hidden: much}"], "balance.shares"),
        (["balance=shares", "balance.every=0"], "balance.every=0 must be at least 1 step"),
        (["balance.every=5"], "balance.every=5 has no effect with balance=off"),
        (["balance=shares", "+trainer.torch_compile=true"], "balance=shares runs backward once for each term"),
    ],
)
def test_what_is_wrong_is_one_line(empty, capsys, overrides, message):
    with pytest.raises(SystemExit, match="2"):
        main(["explain", *overrides])
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
