import json

import pytest

from kdfeatures.cli.main import main

OPTIONS = {
    "random": [],
    "attention": ["+mapping@losses.attention.mapping=last"],
    "emd": [],
    "learned": ["mapping.learning_rate=0.1"],
    "cka": ["mapping.examples=64"],
}


@pytest.mark.slow
@pytest.mark.parametrize("rule", OPTIONS)
def test_a_student_learns_by_the_map_and_its_state_is_in_the_results(workspace, rule, capsys):
    results = workspace.distil(
        f"map_{rule}",
        "recipe=tinybert_joint",
        f"mapping={rule}",
        *OPTIONS[rule],
        "student.layers=2",
        "trainer.num_train_epochs=2",
        "cache=auto",
        f"cache.path={workspace.folder / 'map_cache'}",
    )
    assert results["retained"] > 0.85
    terms = ["hidden"] if rule == "attention" else ["hidden", "attention"]
    assert list(results["maps"]) == terms
    for found in results["maps"].values():
        assert found["rule"] == rule
        assert [len(entry["weights"]) for entry in found["epochs"]] == ([] if rule == "cka" else [2, 2])
    if rule == "random":
        assert results["maps"]["hidden"] == results["maps"]["attention"]
        assert results["maps"]["hidden"]["epochs"][0] != results["maps"]["hidden"]["epochs"][1]
    if rule == "cka":
        assert len(results["mapping"]) == 3 and len(results["maps"]["hidden"]["similarity"]) == 2
    told = capsys.readouterr().out
    assert "Layers that hidden" in told and "teacher     0  1  2  3  4" in told
    card = (workspace.folder / f"map_{rule}" / "README.md").read_text()
    assert ("moving map `" in card) == (rule != "cka")


def test_a_map_is_explained_with_a_picture(workspace, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main(["explain", *workspace.task, f"teacher.path={workspace.teacher}", "recipe=tinybert_joint", "mapping=random",
          "student.layers=2", "+mapping@losses.attention.mapping=uniform"])  # fmt: skip
    told = capsys.readouterr().out
    assert "0..2<-0..4 by random" in told and "1<-2 2<-4" in told
    assert "Layers that attention compares.\nteacher     0  1  2  3  4\nstudent  2              o" in told
    assert "Layers that hidden compares: random, a random subset of teacher layers at a time." in told


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["recipe=tinybert_joint", "mapping=attention"],
         "losses.attention takes attention, but mapping=attention serves terms on hidden; give"),
        (["recipe=hidden_joint", "mapping=random", "student.layers=5", "student.init=random"],
         "mapping=random draws a teacher layer for each of the student's 5"),
        (["recipe=mobilebert", "mapping@stages.layer.mapping=emd"],
         "stages.layer.mapping=emd has no fixed pairs, of which each could be a stage"),
        (["recipe=hidden_joint", "mapping=attention", "mapping.pool=first"], "mapping.pool"),
        (["recipe=hidden_joint", "mapping=emd", "mapping.update=perhaps"], "mapping.update"),
    ],
)  # fmt: skip
def test_what_a_map_cannot_do_is_one_line_before_training(workspace, tmp_path, capsys, overrides, message):
    with pytest.raises(SystemExit, match="2"):
        main(["distill", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={tmp_path}", *overrides])
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


@pytest.mark.slow
def test_a_killed_run_of_a_measured_map_goes_on_with_it(workspace):
    options = ["recipe=hidden_joint", "mapping=cka", "mapping.examples=32", "student.layers=2", "student.init=random",
               "trainer.save_strategy=steps", "+trainer.save_steps=6", "trainer.eval_strategy=no"]  # fmt: skip
    whole = workspace.distil("map_whole", *options)
    folder = workspace.folder / "map_whole"
    for name in ("results.json", "run.json"):  # without its manifest it may be resumed with other settings
        (folder / name).unlink()
    state = folder / "maps.safetensors"
    assert state.exists()
    again = workspace.distil("map_whole", *options, "existing=resume", "mapping.examples=4")
    assert again["maps"] == whole["maps"] and again["mapping"] == whole["mapping"]
    assert json.loads((folder / "results.json").read_text())["student"]["metrics"] == whole["student"]["metrics"]
