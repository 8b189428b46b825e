"""Tables of a grid over results with a known answer."""

import csv
import io
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from kdfeatures.benchmark.collect import GLUE, means_of, rows_of
from kdfeatures.benchmark.tables import csv_text, details, summary

LABELS = np.arange(200) % 2
TASK = {"name": "toy", "kind": "sequence", "text": ["text"], "label": "label", "labels": ["no", "yes"],
        "metrics": ["accuracy"], "files": {"validation": "v.csv", "extra": "e.csv"}, "splits": {}}  # fmt: skip


class FinishedCell:
    """A run whose student is right on the first so many of 200 examples of each split."""

    is_finished = True

    def __init__(self, folder: Path, seed: int, rights: dict[str, int]) -> None:
        self.folder, self.seed = folder / str(seed), seed
        self.folder.mkdir(parents=True)
        answers = {split: np.where(np.arange(200) < right, LABELS, 1 - LABELS) for split, right in rights.items()}
        arrays = {split: np.eye(2)[own] for split, own in answers.items()}
        np.savez(self.folder / "logits.npz", **arrays, **{f"labels/{split}": LABELS for split in rights})
        self.found = {
            "split": "validation", "metric": "accuracy", "config": {"task": TASK}, "seconds": {"total": 60.0 * seed},
            "device": "a CPU",
            "student": {"metrics": {split: {"accuracy": right / 200} for split, right in rights.items()}},
            "teacher": {"metrics": {split: {"accuracy": 0.9} for split in rights}}, "retained": None,
        }  # fmt: skip

    def results(self):
        return self.found


class FinishedUnit:
    trials, searched, exports, learning_rate = (), 0, (), 1e-4

    def __init__(self, folder, task, arm, by_seed):
        self.task, self.arm = task, arm
        self.chosen = [FinishedCell(folder / task / arm, seed, rights) for seed, rights in by_seed.items()]
        self.runs = {1e-4: self.chosen}


@pytest.fixture
def units(tmp_path):
    def one(task, arm, *rights):
        return FinishedUnit(tmp_path, task, arm, {seed: {"validation": n} for seed, n in enumerate(rights, 1)})

    def two_parts(arm, **rights):
        return FinishedUnit(tmp_path, "mnli", arm, {1: rights, 2: rights})

    return [
        one("cola", "hard", 120, 124),
        one("cola", "features", 160, 168),
        two_parts("hard", validation=140, extra=130),
        two_parts("features", validation=150, extra=140),
        one("wnli", "hard", 100, 100),
        one("wnli", "features", 20, 20),
    ]  # fmt: skip


def test_means_spread_and_shares_are_those_of_the_runs(units):
    rows = {(row["task"], row["arm"]): row for row in rows_of(units, baseline="hard", resamples=50)}
    cola = rows["cola", "features"]
    assert cola["mean"] == pytest.approx(0.82) and cola["std"] == pytest.approx(np.std([0.8, 0.84], ddof=1))
    assert cola["retained"] == pytest.approx(0.82 / 0.9) and cola["difference"] == pytest.approx(0.21)
    assert cola["low"] < 0.21 < cola["high"]
    mnli = rows["mnli", "features"]
    assert mnli["mean"] == pytest.approx(0.725) and mnli["difference"] == pytest.approx(0.05)
    assert mnli["metrics"] == {
        "accuracy": {"mean": 0.75, "std": 0.0},
        "accuracy (extra)": {"mean": 0.7, "std": 0.0},
    }
    assert rows["cola", "hard"]["difference"] is None


def test_the_average_is_over_tasks_without_wnli_and_its_gain_is_the_mean_gain(units):
    hard, features = means_of(rows_of(units, baseline="hard", resamples=200))
    assert features["tasks"] == ["cola", "mnli"]
    assert features["mean"] == pytest.approx((0.82 + 0.725) / 2)
    assert features["std"] == pytest.approx(np.std([(0.8 + 0.725) / 2, (0.84 + 0.725) / 2], ddof=1))
    assert features["retained"] == pytest.approx(features["mean"] / 0.9)
    assert features["difference"] == pytest.approx((0.21 + 0.05) / 2)
    assert 0 < features["low"] < features["difference"] < features["high"]
    assert hard["difference"] is None


def test_an_arm_that_lacks_a_task_has_no_average(units):
    rows = rows_of(units, baseline="hard", resamples=10)
    left = [row for row in rows if (row["task"], row["arm"]) != ("mnli", "features")]
    assert [entry["arm"] for entry in means_of(left)] == ["hard"]


def test_scores_on_a_part_of_a_published_split_are_no_glue_average(units):
    names = {
        "name": "mrpc",
        "dataset": "nyu-mll/glue",
        "config": "mrpc",
        "files": None,
        "splits": {"validation": "validation"},
    }
    for unit in units:
        unit.task = "mrpc"
        for cell in unit.chosen:
            cell.found["config"] = {"task": TASK | names}
            cell.found["examples"] = {"validation": 200}
    rows = rows_of(units[:2], baseline="hard", resamples=10)
    assert [row["partial"] for row in rows] == [{"validation": 200}] * 2
    for task in GLUE:
        rows.append({**rows[0], "task": task})
    assert "GLUE average" not in summary(rows[2:], [], "hard")
    assert "GLUE average" in summary([row | {"partial": {}} for row in rows[2:]], [], "hard")


def test_a_share_of_nothing_is_zero_and_a_share_of_less_is_none(units):
    for cell in units[1].chosen:
        cell.found["student"]["metrics"]["validation"]["accuracy"] = 0.0
    rows = rows_of(units[:2], baseline="hard", resamples=10)
    assert rows[1]["retained"] == 0.0 and details(rows)[1]["retained"] == "0.0%"
    for cell in (*units[0].chosen, *units[1].chosen):
        cell.found["teacher"]["metrics"]["validation"]["accuracy"] = -0.02
    rows = rows_of(units[:2], baseline="hard", resamples=10)
    assert rows[1]["retained"] is None and details(rows)[1]["retained"] == ""


def test_exported_students_have_rows_of_their_own_beside_the_torch_model_that_they_were_scored_with(units):
    forms = {"torch": (0.81, 0.83), "onnx": (0.81, 0.83), "int8": (0.8, 0.81)}
    units[1].exports = [exported(seed, **{form: scores[seed - 1] for form, scores in forms.items()}) for seed in (1, 2)]
    rows = {row["arm"]: row for row in rows_of(units[:2], baseline="hard", resamples=10)}
    assert list(rows) == ["hard", "features", "features, onnx", "features, int8"]
    int8 = rows["features, int8"]
    assert int8["to_student"] == pytest.approx(-0.015) and int8["retained"] == pytest.approx(0.805 / 0.9)
    assert int8["difference"] is None and rows["features, onnx"]["to_student"] == 0
    lines = csv.DictReader(io.StringIO(csv_text(list(rows.values()), [])))
    assert [float(line["to_student"]) for line in lines if line["arm"] == "features, int8" and line["to_student"]] == [
        -0.015
    ]


def exported(seed, **scores):
    """A finished export of words: nothing is drawn, so the differences of its formats have no interval."""
    formats = {
        form: {"metrics": {"validation": {"accuracy": score}}, "difference": {"validation": None}}
        for form, score in scores.items()
    }
    found = {"split": "validation", "metric": "accuracy", "formats": formats}
    return SimpleNamespace(is_finished=True, seed=seed, results=lambda: found)


def test_the_summary_names_an_average_by_what_it_is_of(units):
    rows = rows_of(units, baseline="hard", resamples=50)
    lines = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in summary(rows, means_of(rows), "hard").splitlines()
    ]
    assert lines[0] == ["arm", "cola", "mnli", "wnli", "mean of 2 tasks", "retained", "gain over hard [95% interval]"]
    assert lines[2][:5] == ["teacher", "90.0", "90.0/90.0", "90.0", "90.0"]
    assert lines[4][:6] == ["features", "82.0 ± 2.8", "75.0/70.0 ± 0.0", "10.0 ± 0.0", "77.2 ± 1.4", "85.8%"]
    assert lines[3][-1] == "baseline" and lines[4][-1].startswith("+13.0 [")


def test_the_details_have_every_metric_and_how_the_rate_was_chosen(units):
    line = details(rows_of(units, baseline="hard", resamples=50))[3]
    assert line["metrics"] == "accuracy 75.0 ± 0.0; accuracy (extra) 70.0 ± 0.0"
    assert (line["learning rate"], line["trials"], line["seeds"], line["minutes"]) == ("0.0001", "1", "2", "1.5")


def test_an_arm_that_lacks_seeds_says_so(units):
    units[1].runs = {1e-4: [*units[1].chosen, None]}
    rows = rows_of(units, baseline="hard", resamples=50)
    line = next(line for line in summary(rows, means_of(rows), "hard").splitlines() if line.startswith("| features"))
    assert " 82.0 ± 2.8 (2 of 3 seeds) " in line


def test_an_interval_does_not_depend_on_which_other_arms_there_are(units):
    whole, fewer = (rows_of(own, baseline="hard", resamples=50) for own in (units, units[2:]))
    assert [row["low"] for row in whole if row["task"] == "mnli"] == [
        row["low"] for row in fewer if row["task"] == "mnli"
    ]


def test_the_csv_has_every_figure_as_a_number(units):
    rows = rows_of(units, baseline="hard", resamples=50)
    student = {"parameters": 7, "flops": 100, "length": 16, "latency": [0.25, 0.2, 0.3]}
    text = csv_text(
        rows, means_of(rows), {"models": {"student": student, "student, int8": {"latency": [0.1, 0.1, 0.2]}}}
    )
    lines = list(csv.DictReader(io.StringIO(text)))
    found = {(line["task"], line["arm"], line["metric"]): line for line in lines}
    assert len(found) == len(lines)
    assert float(found["mnli", "features", "score"]["mean"]) == 0.725
    assert float(found["mnli", "features", "accuracy (extra)"]["mean"]) == 0.7
    assert float(found["mnli", "teacher", "accuracy"]["mean"]) == 0.9
    assert float(found["cola", "features", "score"]["gain"]) == pytest.approx(0.21)
    assert found["cola", "features", "score"]["seeds"] == "2"
    assert float(found["mean", "teacher", "score"]["mean"]) == 0.9
    assert found["costs", "student", "parameters"]["mean"] == "7"
    latency = found["costs", "student", "latency"]
    assert [latency[name] for name in ("mean", "low", "high")] == ["0.25", "0.2", "0.3"]
    mean = found["mean", "features", "score"]
    assert float(mean["gain"]) == pytest.approx(0.13) and float(mean["low"]) < 0.13 < float(mean["high"])


def test_a_student_of_an_earlier_student_is_held_against_the_teacher_that_was_given(units):
    for cell in units[1].chosen:  # whose teacher, at the end, is its own last generation
        cell.found["config"] = {"task": TASK, "stages": {"generation_2": {"born_again": True}}}
        cell.found["teacher"] = {"metrics": {"validation": {"accuracy": 0.5}}}
    rows = {(row["task"], row["arm"]): row for row in rows_of(units, baseline="hard", resamples=50)}
    assert rows["cola", "features"]["teacher"] == 0.9
    assert rows["cola", "features"]["retained"] == pytest.approx(0.82 / 0.9)
    first = summary(list(rows.values()), means_of(list(rows.values())), "hard").splitlines()[2]
    assert "90.0" in first and "50.0" not in first
