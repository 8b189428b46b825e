"""One run of a grid: once, by one process, never with other settings, and its errors kept."""

import json

import pytest
from filelock import FileLock

from kdfeatures.benchmark.grid_run import RUN, GridRun, compose
from kdfeatures.errors import Diverged, UserError


@pytest.fixture
def cell(composing, tmp_path):
    return GridRun("distill", ("task=rte", "recipe=hard", "seed=3"), tmp_path / "cell", "rte", "hard", 3, 5e-5)


@pytest.fixture
def ran(monkeypatch):
    """The configs that were run; each run writes its results."""
    configs = []

    def run(cfg, folder):
        configs.append(cfg)
        (folder / "results.json").write_text("{}")

    monkeypatch.setitem(RUN, "distill", run)
    return configs


def test_it_runs_once_and_goes_on_where_it_was(cell, ran):
    assert str(cell) == "rte, hard, seed 3, learning rate 5e-05" and not cell.is_finished
    assert cell.run() and cell.is_finished
    assert (ran[0].output_dir, ran[0].existing, ran[0].task.name) == (str(cell.folder), "resume", "rte")
    assert cell.run() and len(ran) == 1


def test_what_another_process_is_at_is_left_to_it(cell, ran):
    cell.folder.mkdir()
    with FileLock(cell.folder / ".cell.lock"):
        assert not cell.run()
    assert ran == [] and cell.run() and len(ran) == 1


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (UserError("the teacher is a stone."), "the teacher is a stone."),
        (MemoryError("no room\nat all"), "MemoryError: no room"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_an_error_is_kept_in_its_folder_until_it_runs_again(cell, monkeypatch, error, told):
    def fail(*_):
        raise error

    with monkeypatch.context() as broken:
        broken.setitem(RUN, "distill", fail)
        assert cell.run()
    assert cell.failure == told and not cell.is_finished
    monkeypatch.setitem(RUN, "distill", lambda cfg, folder: (folder / "results.json").write_text("{}"))
    assert cell.run() and cell.failure is None and cell.is_finished


def test_a_model_that_diverges_is_told_apart_from_a_run_that_broke_off(cell, monkeypatch):
    def diverge(*_):
        raise Diverged("the logits are not finite.")

    monkeypatch.setitem(RUN, "distill", diverge)
    assert cell.run() and cell.is_settled and not cell.is_finished
    assert cell.failure == "the logits are not finite." and not (cell.folder / "error.txt").exists()


def test_settings_that_another_process_has_begun_with_are_refused_when_it_runs(cell, ran):
    cell.run()
    (cell.folder / "results.json").unlink()
    changed = GridRun(
        cell.command, (*cell.overrides, "trainer.num_train_epochs=4"), cell.folder, "rte", "hard", 3, 5e-5
    )
    with pytest.raises(UserError, match="was begun with trainer.num_train_epochs=3"):
        changed.run()
    assert len(ran) == 1


def test_an_interrupt_ends_the_grid(cell, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setitem(RUN, "distill", interrupt)
    with pytest.raises(KeyboardInterrupt):
        cell.run()
    assert cell.failure is None


def test_a_folder_of_other_settings_is_refused_and_one_of_other_seeds_is_not(cell, ran):
    cell.check()
    cell.run()
    cell.check()
    assert json.loads((cell.folder / "cell.json").read_text())["trainer.num_train_epochs"] == 3
    changed = GridRun(
        cell.command, (*cell.overrides, "trainer.num_train_epochs=4"), cell.folder, "rte", "hard", 3, 5e-5
    )
    with pytest.raises(UserError, match="was begun with trainer.num_train_epochs=3, but now it is 4; choose another"):
        changed.check()


def test_a_wrong_override_is_one_line(composing):
    with pytest.raises(UserError, match="unknown option studnt.layers"):
        compose("distill", ["studnt.layers=3"])
