"""Students with other heads than their teacher's, from the command line."""

import pytest

from kdfeatures.cli.main import main

SIZES = ["student.layers=2", "student.hidden_size=24", "student.heads=2", "student.init=random"]
NARROW = ["recipe=tinybert_joint", *SIZES]
OPTIONS = {"mean": [], "relation": ["heads.count=8"], "learned": [], "hungarian": ["heads.examples=32"]}


@pytest.mark.parametrize("rule", OPTIONS)
def test_unequal_heads_are_distilled_and_the_results_tell_how(workspace, rule, capsys, tmp_path):
    options = [*NARROW, f"heads={rule}", *OPTIONS[rule], "trainer.max_steps=6", "explain=true"]
    results = workspace.distil(f"heads_{rule}", *options, "cache=auto", f"cache.path={tmp_path}")
    found = results["heads"]["attention"]
    assert found["rule"] == rule and f"heads={rule}" in capsys.readouterr().out
    if rule == "hungarian":
        assert [len(found[pair]["pairs"]) for pair in ("1_to_2", "2_to_4")] == [2, 2]
        assert all(0 < value <= 1 for value in found["1_to_2"]["similarity"])
    if rule == "learned":
        assert [len(row) for row in found["2_to_4"]] == [2] * 4 and found["2_to_4"] != [[0.5, 0.5]] * 4
    kept = (workspace.folder / f"heads_{rule}" / "heads.safetensors").exists()
    assert kept == (rule in ("hungarian", "learned"))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (NARROW, "AttentionScoreMSE needs equal head counts, but the student has 2 heads and the teacher 4; heads="),
        ([*NARROW, "losses.attention.heads=mean"], "losses.attention.heads=mean names no file of conf/heads; write "
         "+heads@losses.attention.heads=mean"),
        ([*NARROW, "heads=relation", "heads.count=7"], "heads.count=7 must divide both attention widths, 24 (student)"),
        ([*NARROW, "heads=hungary"], "unknown heads 'hungary'"),
    ],
)  # fmt: skip
def test_heads_that_do_not_fit_are_one_line_before_training(workspace, capsys, overrides, told):
    with pytest.raises(SystemExit, match="2"):
        workspace.distil("heads_refused", *overrides)
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


def test_a_stage_may_bring_heads_together_in_its_own_way(workspace):
    options = ["recipe=tinybert", *SIZES, "+heads@stages.intermediate.heads=mean"]
    short = [f"stages.{name}.trainer.num_train_epochs=1" for name in ("intermediate", "prediction")]
    results = workspace.distil("heads_staged", *options, *short)
    assert [stage["heads"] for stage in results["stages"]] == [{"attention": {"rule": "mean"}}, {}]


def test_heads_are_explained(workspace, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["explain", *workspace.task, f"teacher.path={workspace.teacher}", *NARROW, "heads=learned"])
    assert "heads=learned" in " ".join(capsys.readouterr().out.split())
