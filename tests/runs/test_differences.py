"""Runs that cannot be compared example by example, though their tables look alike."""

import json

import numpy as np
import pytest

from kdfeatures.errors import UserError
from kdfeatures.runs.comparison import compare_runs
from kdfeatures.runs.results import write_results

TASK = {
    "name": "clauses", "kind": "sequence", "dataset": "org/clauses", "config": None, "text": ["sentence"],
    "label": "label", "labels": ["no", "yes"], "metrics": ["accuracy"], "splits": {"validation": "validation"},
}  # fmt: skip


def run(folder, name, logits, labels, *, seed=1):
    """A finished run of a task of four examples, and what it answered."""
    path = folder / f"{name}-{seed}"
    path.mkdir()
    right = float((np.asarray(logits).argmax(1) == np.asarray(labels)).mean())
    student = {"path": str(path), "model_type": "bert", "layers": 1, "hidden_size": 8, "heads": 1, "parameters": 1}
    np.savez_compressed(
        path / "logits.npz",
        validation=np.asarray(logits, dtype=np.float32),
        **{"labels/validation": np.asarray(labels)},
    )
    config = {"task": TASK, "seed": seed, "output_dir": str(path), "recipe_name": name, "existing": "refuse"}
    write_results(path, {
        "command": "distill", "task": "clauses", "seed": seed, "split": "validation", "metric": "accuracy",
        "recipe": name, "student": student | {"metrics": {"validation": {"accuracy": right}}}, "teacher": None,
        "retained": None, "config": config,
    })  # fmt: skip
    return path


ANSWERS = [[2.0, 0.0], [0.0, 2.0], [2.0, 0.0], [2.0, 0.0]]
LABELS = [0, 1, 0, 1]
TURNED = [3, 2, 1, 0]


def test_the_same_answers_differ_by_nothing(tmp_path):
    run(tmp_path, "one", ANSWERS, LABELS)
    run(tmp_path, "two", ANSWERS, LABELS)
    (row,) = [row for row in compare_runs(tmp_path, baseline="one-1").rows if not row.is_baseline]
    assert (row.mean, row.difference, row.low, row.high) == (0.75, 0.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("answers", "labels"),
    [
        ([ANSWERS[n] for n in TURNED], [LABELS[n] for n in TURNED]),  # the same rows in another order
        ([row[::-1] for row in ANSWERS], [1 - label for label in LABELS]),  # the classes in another order
        (ANSWERS[:3], LABELS[:3]),
    ],
    ids=["rows", "classes", "fewer"],
)
def test_other_rows_or_classes_are_refused(tmp_path, answers, labels):
    one, two = run(tmp_path, "one", ANSWERS, LABELS), run(tmp_path, "two", answers, labels)
    with pytest.raises(
        UserError, match="were scored on validation examples of other labels, or in another order"
    ) as told:
        compare_runs(tmp_path, baseline="one-1")
    assert str(one) in str(told.value) and str(two) in str(told.value)


def test_a_seed_that_was_scored_on_other_rows_is_refused(tmp_path):
    run(tmp_path, "one", ANSWERS, LABELS)
    run(tmp_path, "one", [ANSWERS[n] for n in TURNED], [LABELS[n] for n in TURNED], seed=2)
    for seed in (1, 2):
        run(tmp_path, "two", ANSWERS, LABELS, seed=seed)
    with pytest.raises(UserError, match="one-2|two-2"):
        compare_runs(tmp_path)


@pytest.mark.parametrize("damaged", [False, True])
def test_answers_that_are_lost_are_one_line(tmp_path, damaged):
    run(tmp_path, "one", ANSWERS, LABELS)
    path = run(tmp_path, "two", ANSWERS, LABELS) / "logits.npz"
    path.write_bytes(b"x") if damaged else path.unlink()
    with pytest.raises(UserError, match="logits.npz is not there or damaged"):
        compare_runs(tmp_path, baseline="one-1")
    assert json.loads((path.parent / "results.json").read_text())["files"]


def test_it_is_said_of_how_many_seeds_a_difference_is(tmp_path):
    for name, seeds in (("one", (1, 2)), ("two", (2, 3))):
        for seed in seeds:
            run(tmp_path, name, ANSWERS, LABELS, seed=seed)
    compared = str(compare_runs(tmp_path))
    assert "| 2 (1 compared) |" in " ".join(compared.split()) and "one seed says nothing of others" in compared
