"""The curves of a run are those of its log, stage by stage."""

import json

import pytest

from kdfeatures.runs.reports.training_curves import training_curves


def write_log(folder, entries, name="trainer_state.json"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps({"log_history": entries}))


def test_the_terms_of_every_entry_are_read_with_their_steps(tmp_path):
    write_log(
        tmp_path,
        [
            {"step": 5, "loss": 3.0, "loss/hidden": 2.0, "loss/logits": 1.0, "learning_rate": 0.1},
            {"step": 8, "eval_loss": 9.0, "eval_accuracy": 0.5},
            {"step": 10, "loss": 2.0, "loss/hidden": 1.5},
            {"step": 12, "loss/hidden": 1.25, "train_loss": 7.0, "train_runtime": 3.0},
        ],
    )
    assert training_curves(tmp_path) == {
        "all terms": ([5, 10], [3.0, 2.0]),
        "hidden": ([5, 10, 12], [2.0, 1.5, 1.25]),
        "logits": ([5], [1.0]),
    }


def test_stages_come_in_their_order_and_a_term_of_one_name_is_that_of_its_stage(tmp_path):
    for number, name in ((2, "prediction"), (10, "late"), (1, "intermediate")):
        write_log(tmp_path / "stages" / f"{number}-{name}", [{"step": number, "loss/hidden": float(number)}])
    curves = training_curves(tmp_path)
    assert list(curves) == ["intermediate: hidden", "prediction: hidden", "late: hidden"]
    assert curves["late: hidden"] == ([10], [10.0])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"log_history": 3}', '{"log_history": [3, {"loss": 1}]}', "\xff"])
def test_a_log_that_cannot_be_read_is_none(tmp_path, text):
    (tmp_path / "trainer_state.json").write_bytes(text.encode("latin-1"))
    assert training_curves(tmp_path) == {}
    assert training_curves(tmp_path / "nowhere") == {}


def test_numbers_that_are_none_are_left_out(tmp_path):
    entries = [{"step": 1, "loss/a": float("nan")}, {"step": 2, "loss/a": 0.5}, {"step": 3, "loss/a": float("inf")}]
    write_log(tmp_path, [*entries, {"step": 4, "loss/a": "x"}, {"loss/a": 1.0}])
    assert training_curves(tmp_path) == {"a": ([2], [0.5])}
