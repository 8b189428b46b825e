"""A small search: its trials, the runs of the best one beside hand-made arms, and going on with more trials."""

import builtins
import csv
import json
from statistics import mean

import pytest
from support.small_tasks import smaller_tasks

from kdfeatures.cli.main import main

__all__ = ["smaller_tasks"]

pytest.importorskip("optuna")
QUICK = ["data.train_examples=400", "trainer.max_steps=6", "trainer.disable_tqdm=true", "trainer.eval_strategy=no"]
SPACE = ["~search.space.attention", "~search.space.scores", "~search.space.labels", "~search.space.stages",
         "search.space.rate={low: 1e-4, high: 5e-3}"]  # fmt: skip


def call(folder, *more):
    teacher = "'model.layers=2','model.hidden_size=32','trainer.max_steps=8','trainer.learning_rate=2e-3'"
    finetune = f"finetune=[{teacher},'trainer.disable_tqdm=true']"
    return ["search", "task=agreement", f"output_dir={folder}", finetune, "seed=1,2", "controls=[hard]", *QUICK,
            "student.init=random", "student.layers=1", "teacher.force=true", "learning_rates=[1e-3]",
            "search.random=2", *more]  # fmt: skip


def rows(folder):
    return list(csv.DictReader((folder / "trials.csv").open()))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("search") / "out"
    main(call(folder, "search.trials=4", *SPACE))
    return folder


@pytest.mark.slow
def test_the_best_trial_is_run_with_fresh_seeds_beside_the_hand_made_arms(made):
    results = json.loads((made / "results.json").read_text())
    found, trials = results["search"], rows(made)
    assert len(trials) == 4 and sum(found["counts"].values()) == 4
    complete = {int(row["trial"]): float(row["score"]) for row in trials if row["state"] == "complete"}
    assert complete[found["number"]] == pytest.approx(max(complete.values()), abs=1e-6) and found["number"] in complete
    chosen = trials[found["number"]]
    runs = [json.loads(file.read_text()) for file in sorted(made.glob("runs/agreement/search/*/seed-*/results.json"))]
    assert [run["seed"] for run in runs] == [1, 2]
    for run in runs:
        assert run["config"]["trainer"]["learning_rate"] == pytest.approx(float(chosen["rate"]), rel=1e-5)
        assert run["config"]["losses"]["hidden"]["weight"] == pytest.approx(float(chosen["hidden"]), rel=1e-5)
        assert run["config"]["mapping"]["_target_"].endswith(f".{chosen['map']}") or chosen["map"] in ("emd", "cka")
        assert run["config"]["data"]["held_out"] is None and run["split"] == "validation"
    row = next(row for row in results["rows"] if row["arm"] == "search")
    assert row["mean"] == pytest.approx(mean(run["student"]["metrics"]["validation"]["accuracy"] for run in runs))
    assert {row["arm"] for row in results["rows"]} == {"hard", "tinybert_joint", "search"}
    assert row["difference"] is not None and row["trials"] == 4
    told = (made / "search.md").read_text()
    assert f"The best, trial {found['number']}, has {100 * found['score']:.1f}" in told and "kdfeatures distill" in told


@pytest.mark.slow
def test_trials_have_a_teacher_that_has_not_seen_what_they_are_scored_on(made):
    results = json.loads((made / "trials" / "agreement" / "teacher" / "results.json").read_text())
    assert results["config"]["data"]["held_out"] == 0.1 and results["split"] == "selection"
    plan = (made / "search" / "trials.log").read_text()
    assert str(made / "trials" / "agreement" / "teacher") in plan and "split=selection" in plan
    assert not list((made / "search").glob("trial-*"))


@pytest.mark.slow
def test_more_trials_go_on_from_those_there_are(made):
    before, files = rows(made), {file: file.stat().st_mtime_ns for file in made.glob("runs/*/hard/**/results.json")}
    main(call(made, "search.trials=5", *SPACE))
    after = rows(made)
    assert after[:4] == before and len(after) == 5
    assert {file: file.stat().st_mtime_ns for file in files} == files


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("search.trials=0", "search.trials=0 must be at least 1"),
        ("search.reduction=1", "search.reduction=1 must be"),
        ("search.space.rate={high: 1e-9}", "search.space.rate.low=3e-05 must be below search.space.rate.high=1e-09"),
        ("search.trails=3", "search.trails"),
        ('search.space.map.choices.cka=["mapping=ckaa"]', "search.space.map.choices.cka: "),
        ("search.space.hidden={option: losses.hiden.weight}", "search.space.hidden.low: "),
        ("search.space.hidden={low: -1, log: false}", "search.space.hidden.low: losses.hidden.weight=-1"),
        ("tasks=[agreement,entailment]", "a search is of one task"),
        ("existing=overwrite", "a search goes on where it was"),
    ],
)
def test_what_cannot_be_is_refused_before_a_teacher_is_trained(wrong, told, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([*call(tmp_path / "out", "search.trials=2"), wrong])
    assert told in capsys.readouterr().err and not list(tmp_path.rglob("*.safetensors"))


def test_without_optuna_the_extra_is_named(tmp_path, monkeypatch, capsys):
    imported = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "optuna":
            raise ImportError(name)
        return imported(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(SystemExit, match="2"):
        main(call(tmp_path / "out"))
    assert "pip install 'kdfeatures[search]'" in capsys.readouterr().err
