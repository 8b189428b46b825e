"""Comparison of runs, on results with a known answer."""

import csv
import json
import re

import numpy as np
import pytest

from kdfeatures.cli.main import main
from kdfeatures.errors import UserError
from kdfeatures.runs.arms import find_arms

TASK = {"name": "toy", "kind": "sequence", "text": ["text"], "label": "label", "labels": ["no", "yes"],
        "metrics": ["accuracy"], "files": {"validation": "v.csv"}, "splits": {}}  # fmt: skip
EXAMPLES = 400
LABELS = np.random.default_rng(0).integers(2, size=EXAMPLES)


def write_run(folder, *, right, seed=1, recipe="hard", command="distill", labels=True, split="validation", task=TASK):
    """File a run whose student answers the first `right` examples correctly."""
    folder.mkdir(parents=True)
    answers = np.where(np.arange(EXAMPLES) < right, LABELS, 1 - LABELS)
    arrays = {split: np.eye(2)[answers]} | ({f"labels/{split}": LABELS} if labels else {})
    np.savez_compressed(folder / "logits.npz", **arrays)
    results = {
        "command": command, "task": "toy", "recipe": recipe, "seed": seed, "split": split, "metric": "accuracy",
        "student": {"metrics": {split: {"accuracy": right / EXAMPLES}}}, "retained": right / EXAMPLES / 0.95,
        "config": {"task": task, "recipe_name": recipe, "seed": seed, "output_dir": str(folder), "existing": "refuse"},
    }  # fmt: skip
    (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture
def runs(tmp_path):
    for recipe, rights in {"hard": (320, 324), "logits": (322, 323), "tinybert": (350, 356)}.items():
        for seed, right in enumerate(rights, 1):
            write_run(tmp_path / f"recipe={recipe},seed={seed}", right=right, seed=seed, recipe=recipe)
    return tmp_path


def compared(folder, *more):
    main(["compare", str(folder), *more])
    with (folder / "comparison" / "comparison.csv").open() as stream:
        rows = {row["arm"]: row for row in csv.DictReader(stream)}
    return rows, (folder / "comparison" / "comparison.md").read_text()


def test_means_spread_and_differences_are_those_of_the_runs(runs):
    rows, text = compared(runs, "baseline=hard")
    assert set(rows) == {"hard", "logits", "tinybert"}
    best = rows["tinybert"]
    assert float(best["mean"]) == pytest.approx(353 / EXAMPLES)
    assert float(best["std"]) == pytest.approx(np.std([350 / EXAMPLES, 356 / EXAMPLES], ddof=1))
    assert float(best["difference"]) == pytest.approx(31 / EXAMPLES)
    assert 0 < float(best["low"]) < 31 / EXAMPLES < float(best["high"])
    assert "better than hard: tinybert; not told apart: 1 of 2" in text
    assert all((runs / "comparison" / f"comparison.{ending}").stat().st_size > 1000 for ending in ("png", "svg"))


def test_the_page_says_what_the_table_says_and_leads_to_the_runs(runs, capsys):
    entries = [{"step": step, "loss": 1.0, "loss/hidden": 3 / step} for step in (10, 20)]
    (runs / "recipe=tinybert,seed=1" / "trainer_state.json").write_text(json.dumps({"log_history": entries}))
    rows, text = compared(runs, "baseline=hard")
    page = (runs / "comparison" / "report.html").read_text()
    assert "open report.html there in a browser" in capsys.readouterr().out
    assert "better than hard: tinybert; not told apart: 1 of 2" in page
    assert f"{100 * float(rows['tinybert']['mean']):.1f} ± " in page
    assert 'href="../recipe%3Dtinybert%2Cseed%3D2"' in page
    assert page.count("<polyline") == 2 and "5 runs kept no log of training." in page
    assert not re.search(r"https?://|(src|href)=\"(?!data:|\.\./)", page)


def test_it_says_so_when_nothing_differs_beyond_noise(runs, capsys):
    rows, text = compared(runs, "baseline=hard")
    for seed in (1, 2):
        for file in (runs / f"recipe=tinybert,seed={seed}").iterdir():
            file.unlink()
    rows, text = compared(runs, "baseline=hard")
    assert "No arm differs from hard beyond noise." in text and "No arm differs" in capsys.readouterr().out
    assert float(rows["logits"]["low"]) <= 0 <= float(rows["logits"]["high"])


def test_the_first_arm_is_the_baseline_unless_another_is_named(runs):
    rows, text = compared(runs)
    assert rows["hard"]["is_baseline"] == "True"
    for named in ("tinybert", "'recipe=tinybert'", "bert"):
        rows, text = compared(runs, f"baseline={named}")
        assert rows["tinybert"]["is_baseline"] == "True"
        assert "worse: hard, logits" in text


def test_stages_and_a_runs_own_teacher_are_no_runs_of_their_own(tmp_path):
    write_run(tmp_path / "one", right=300)
    write_run(tmp_path / "one" / "stages" / "1-hint", right=10)
    write_run(tmp_path / "one" / "teacher", right=390, command="finetune")
    assert [arm.name for arm in find_arms(tmp_path)] == ["one"]


def test_a_folder_of_the_tasks_name_and_the_seed_are_no_part_of_an_arms_name(tmp_path):
    write_run(tmp_path / "toy" / "seed-1" / "arm=last", right=300)
    write_run(tmp_path / "toys" / "seed-1" / "arm=first", right=300, recipe="logits")
    assert [arm.name for arm in find_arms(tmp_path)] == ["arm=last", "toys/arm=first"]


def test_maps_drawn_by_the_runs_own_seed_are_one_arm_and_those_of_a_seed_of_their_own_are_not(tmp_path):
    for rule, drawn in {"follows": {1: 1, 2: 2}, "own": {1: 5, 2: 6}}.items():
        for seed, map_seed in drawn.items():
            folder = tmp_path / f"{rule},seed={seed}"
            write_run(folder, right=300, seed=seed)
            results = json.loads((folder / "results.json").read_text())
            results["config"]["losses"] = {"hidden": {"mapping": {"name": rule, "seed": map_seed}}}
            (folder / "results.json").write_text(json.dumps(results))
    assert sorted(sorted(arm.runs) for arm in find_arms(tmp_path)) == [[1], [1, 2], [2]]


def test_an_option_that_came_later_and_is_off_makes_no_other_arm(tmp_path):
    for seed, later in {
        1: {},
        2: {"push_to_hub": None, "data": {"held_out": None}},
        3: {"push_to_hub": "me/mine"},
    }.items():
        folder = tmp_path / f"seed-{seed}"
        write_run(folder, right=300, seed=seed)
        results = json.loads((folder / "results.json").read_text())
        results["config"] = {"data": {}} | results["config"] | later
        (folder / "results.json").write_text(json.dumps(results))
    assert [sorted(arm.runs) for arm in find_arms(tmp_path)] == [[1, 2], [3]]


def test_mistakes_are_told(runs, capsys, tmp_path_factory):
    def told(*argv):
        with pytest.raises(SystemExit):
            main(["compare", *argv])
        return capsys.readouterr().err

    empty = tmp_path_factory.mktemp("empty")
    assert "holds no finished run" in told(str(empty))
    assert "runs=nowhere is no folder" in told("nowhere")
    assert "runs=None is no folder; say which runs to compare, kdfeatures compare DIR." in told()
    assert "baseline=tinbert is no run of hard" in told(str(runs), "baseline=tinbert")
    assert "baseline=t fits 2 of" in told(str(runs), "baseline=t")
    write_run(runs / "again", right=300, recipe="hard", seed=1)
    with pytest.raises(UserError, match="have the same configuration and seed 1; keep one of them"):
        find_arms(runs)


def test_arms_without_a_common_seed_are_refused(tmp_path, capsys):
    write_run(tmp_path / "a", right=300, seed=1)
    write_run(tmp_path / "b", right=310, seed=2, recipe="logits")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path)])
    assert "share no seed" in capsys.readouterr().err


def test_a_run_that_kept_no_labels_is_named(tmp_path, capsys):
    write_run(tmp_path / "old", right=300, labels=False)
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path)])
    assert "old/logits.npz has no labels of validation; run it anew" in capsys.readouterr().err


def test_arms_of_different_splits_and_runs_of_older_versions_are_named(tmp_path, capsys):
    write_run(tmp_path / "a", right=300)
    write_run(tmp_path / "b", right=310, recipe="logits", split="test")
    with pytest.raises(SystemExit):
        main(["compare", str(tmp_path)])
    assert "b reports accuracy on test, but a accuracy on validation; compare runs of one" in capsys.readouterr().err
    write_run(tmp_path / "c", right=300, recipe="x", task={name: fact for name, fact in TASK.items() if name != "kind"})
    with pytest.raises(UserError, match="c/results.json is of an older version, which kept no labels"):
        find_arms(tmp_path)
