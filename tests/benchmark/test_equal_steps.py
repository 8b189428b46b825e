"""Arms in stages: as many steps as a run without, at the rate that is tried."""

from pathlib import Path

import pytest

from kdfeatures.benchmark.equal_steps import check_steps, same_steps
from kdfeatures.benchmark.grid_run import compose
from kdfeatures.config.load import distill_settings
from kdfeatures.errors import UserError
from kdfeatures.pipelines.plan import plan_stages

pytestmark = pytest.mark.usefixtures("composing")
RUN = ["task=agreement", "student.layers=2", "trainer.num_train_epochs=3", "trainer.learning_rate=0.0007"]


def _plans(arm):
    folder = Path("unused")
    return plan_stages(distill_settings(compose("distill", arm), folder), folder)


def _shared(arm):
    return same_steps(compose("distill", arm), _plans(arm), arm)


def _stages(*overrides):
    """Return (epochs, rate, steps) of each stage that an arm of these overrides trains."""
    arm = [*RUN, *overrides]
    plans = _plans([*arm, *_shared(arm)])
    options = ("num_train_epochs", "learning_rate", "max_steps")
    return [tuple(plan.stage.trainer.arguments[option] for option in options) for plan in plans]


@pytest.mark.parametrize(("recipe", "stages"), [("tinybert", 2), ("minilmv2", 2), ("fitnets", 2), ("mobilebert", 3)])
def test_the_stages_of_a_recipe_share_the_epochs_and_take_the_rate(recipe, stages):
    found = _stages(f"recipe={recipe}")
    assert found == [(pytest.approx(3 / stages, abs=1e-5), 0.0007, -1)] * stages


def test_steps_are_shared_as_well():
    assert [steps for _, _, steps in _stages("recipe=tinybert", "trainer.max_steps=101")] == [50, 50]


@pytest.mark.parametrize("recipe", ["hard", "tinybert_joint"])
def test_a_recipe_without_stages_stays_as_it_is(recipe):
    assert _shared([*RUN, f"recipe={recipe}"]) == []


@pytest.mark.parametrize(
    "own",
    [
        ["stages.intermediate.trainer.num_train_epochs=2", "stages.prediction.trainer.num_train_epochs=1"],
        ["stages.intermediate.trainer={num_train_epochs: 2}", "stages.prediction.trainer={num_train_epochs: 1}"],
    ],
)
def test_what_is_said_of_a_stage_stays(own):
    assert _stages("recipe=tinybert", *own) == [(2, 0.0007, -1), (1, 0.0007, -1)]


def test_stages_of_ones_own_share_too():
    assert _stages("recipe=logits", "+stages.few={data: {labelled: 9}}", "+stages.all={}") == [(1.5, 0.0007, -1)] * 2


@pytest.mark.parametrize("own", ["data.labelled=9", "data.pool=FILE", "augmentation=tinybert"])
def test_epochs_of_unlike_lengths_are_refused_and_steps_are_not(own):
    with pytest.raises(UserError, match="fewer steps in an epoch; say trainer.max_steps=N"):
        check_steps(compose("distill", [*RUN, own]))
    check_steps(compose("distill", [*RUN, own, "trainer.max_steps=9"]))


def test_the_split_that_is_reported_chooses_nothing():
    with pytest.raises(UserError, match="load_best_model_at_end=true lets the validation split choose"):
        check_steps(compose("distill", [*RUN, "trainer.load_best_model_at_end=true"]))
