"""Trials are scored on examples that their teacher has not seen, or the grid knows that it has."""

import json

import pytest

from kdfeatures.benchmark.schedule import schedule_arms
from kdfeatures.errors import UserError

TRIED = "learning_rates=[1e-3,1e-4]"


@pytest.fixture
def unit(settings, tmp_path):
    return lambda *more: schedule_arms(settings("controls=[hard]", TRIED, *more), tmp_path)[0]


def folder_of(folder, **data):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": 4}))
    if data:
        (folder / "results.json").write_text(json.dumps({"config": {"data": data}}))
    return folder


def paths(cells):
    return {text for cell in cells for text in cell.overrides if text.startswith("teacher.path")}


def test_where_teachers_are_made_one_more_is_made_without_these_examples(unit, tmp_path):
    made = unit("held_out=0.2")
    teacher, held = made.teachers
    assert held.folder == tmp_path / "trials" / "agreement" / "teacher"
    assert held.overrides == (*teacher.overrides, "data.held_out=0.2", "split=selection")
    assert paths(made.trials) == {f"teacher.path='{held.folder}'"} and not made.teacher_saw_trials
    assert paths(one for runs in made.runs.values() for one in runs) == {f"teacher.path='{teacher.folder}'"}


def test_a_given_one_is_taken_if_it_held_out_as_much(unit, tmp_path):
    folder_of(tmp_path / "held" / "agreement", held_out=0.1)
    made = unit(f"teacher.trial_root={tmp_path / 'held'}")
    assert paths(made.trials) == {f"teacher.path='{tmp_path / 'held' / 'agreement'}'"}
    assert len(made.teachers) == 1 and not made.teacher_saw_trials
    with pytest.raises(UserError, match="was fine-tuned with data.held_out=0.1, but trials hold out 0.3"):
        unit(f"teacher.trial_root={tmp_path / 'held'}", "held_out=0.3")
    with pytest.raises(UserError, match="teacher.trial_root=.*nowhere has no folder agreement with a model"):
        unit(f"teacher.trial_root={tmp_path / 'nowhere'}")


def test_a_teacher_of_the_students_that_held_out_as_much_serves_both(unit, tmp_path):
    own = folder_of(tmp_path / "given" / "agreement", held_out=0.1)
    made = unit(f"teacher.root={own.parent}")
    assert made.teachers == () and paths(made.trials) == {f"teacher.path='{own}'"} and not made.teacher_saw_trials


@pytest.mark.parametrize("data", [{}, {"held_out": None}])
def test_of_a_teacher_from_elsewhere_the_grid_knows_that_it_has_seen_them(settings, tmp_path, data):
    folder_of(tmp_path / "given" / "rte", **data)
    given = settings("tasks=[rte]", "controls=[hard]", TRIED, f"teacher.root={tmp_path / 'given'}")
    assert [unit.teacher_saw_trials for unit in schedule_arms(given, tmp_path)] == [True, True]


def test_without_trials_none_is_made(unit):
    assert len(unit("learning_rates=[1e-3]").teachers) == 1
