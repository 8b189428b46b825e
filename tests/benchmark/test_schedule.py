"""What is run when: the teacher, the trials, then all seeds at the best learning rate."""

import json

import pytest

from kdfeatures.benchmark.schedule import schedule_arms
from kdfeatures.errors import UserError


@pytest.fixture
def units(settings, tmp_path):
    return lambda *more: schedule_arms(settings("controls=[hard]", "seeds=[4,5]", *more), tmp_path)


def finish(cell, score=0.5):
    cell.folder.mkdir(parents=True, exist_ok=True)
    found = {"metric": "accuracy", "student": {"metrics": {"selection": {"accuracy": score}}}}
    (cell.folder / "results.json").write_text(json.dumps(found))


def test_the_rate_of_the_best_trial_is_run_with_all_seeds_and_all_examples(units, tmp_path):
    unit = units("learning_rates=[1e-3,1e-4,3e-4]", "held_out=0.2")[0]
    assert (unit.arm, unit.planned, unit.learning_rate, unit.chosen) == ("hard", 5, None, ())
    assert {cell.seed for cell in unit.trials} == {4}
    assert all({"data.held_out=0.2", "split=selection"} <= set(cell.overrides) for cell in unit.trials)
    for cell, score in zip(unit.trials, (0.7, 0.8, 0.8), strict=True):
        finish(cell, score)
    assert unit.learning_rate == 1e-4  # of two that are equal the smaller one
    assert [cell.seed for cell in unit.chosen] == [4, 5]
    assert not any("held_out" in text or "split=" in text for cell in unit.chosen for text in cell.overrides)
    assert unit.chosen[1].folder == tmp_path / "runs" / "agreement" / "hard" / "learning_rate-0.0001" / "seed-5"
    assert "trainer.learning_rate=0.0001" in unit.chosen[0].overrides


def test_the_split_that_is_asked_for_is_that_of_the_runs_and_not_of_the_trials(units):
    unit = units("learning_rates=[1e-3,1e-4]", "split=test")[0]
    assert {cell.config().split for cell in unit.trials} == {"selection"}
    assert {cell.config().split for runs in unit.runs.values() for cell in runs} == {"test"}
    assert "split=test" in unit.teachers[0].overrides


def test_the_order_is_teacher_trials_runs(units):
    unit = units("learning_rates=[1e-3,1e-4]")[0]
    stages = unit.stages()
    teachers = next(stages)
    assert {(cell.command, cell.arm, cell.seed) for cell in teachers} == {("finetune", "teacher", 4)}
    assert next(stages) == unit.trials
    assert next(stages) == ()
    for cell in unit.trials:
        finish(cell)
    *_, runs, exports = unit.stages()
    assert runs == unit.chosen != () and exports == ()


def test_finished_students_of_the_recipe_are_exported_where_that_is_asked_for(units):
    hard, recipe = units("learning_rates=[2e-4]", "recipes=[logits]", "export=true")
    assert (hard.exports, recipe.exports, hard.planned, recipe.planned) == ((), (), 2, 4)
    finish(recipe.chosen[0])
    (export,) = recipe.exports
    assert (export.command, export.folder, export.seed) == ("export", recipe.chosen[0].folder / "export", 4)
    assert export.overrides == ("task=agreement", f"model.path='{recipe.chosen[0].folder}'")


def test_one_rate_needs_no_trial(units):
    unit = units("learning_rates=[2e-4]")[0]
    assert (unit.trials, unit.learning_rate, len(unit.chosen), unit.planned) == ((), 2e-4, 2, 2)


def test_a_teacher_that_is_there_is_taken_and_one_that_was_begun_here_is_finished(units, tmp_path):
    (tmp_path / "teachers" / "agreement").mkdir(parents=True)
    begun = units("learning_rates=[2e-4]")[0].teachers[0]
    assert begun.folder == tmp_path / "teachers" / "agreement"
    finish(begun)
    (begun.folder / "cell.json").touch()
    (begun.folder / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": 4}))
    assert units("learning_rates=[2e-4]")[0].teachers == (begun,)
    (begun.folder / "cell.json").unlink()
    assert units("learning_rates=[2e-4]")[0].teachers == ()


def test_teachers_are_made_of_an_encoder_with_the_students_data_and_settings_of_their_own(units, tmp_path):
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    (encoder / "config.json").write_text(json.dumps({"model_type": "bert", "num_hidden_layers": 4}))
    unit = units("tasks=[rte]", f"model.path={encoder}", "data.max_length=64", "trainer.bf16=true",
                 "finetune=['trainer.num_train_epochs=4']", "learning_rates=[2e-4]")[0]  # fmt: skip
    assert unit.teachers[0].overrides == (
        "task=rte", f"model.path='{encoder}'", "data.max_length=64", "seed=4", "trainer.num_train_epochs=4"
    )  # fmt: skip


def test_teachers_that_cannot_be_made_are_named_at_once(units):
    with pytest.raises(UserError, match="has no folder rte, cola; leave them out of tasks, or give model.path="):
        units("tasks=[rte,agreement,cola]")


def test_a_rate_that_diverges_is_the_worst_and_when_all_do_the_arm_is_told_broken(units):
    unit = units("learning_rates=[1e-3,1e-4]")[0]
    first, second = unit.trials
    first.folder.mkdir(parents=True)
    (first.folder / "diverged.txt").write_text("the logits are not finite")
    assert not unit.is_done(first) and unit.learning_rate is None
    finish(second, 0.0)
    assert unit.is_done(first) and unit.learning_rate == 1e-4
