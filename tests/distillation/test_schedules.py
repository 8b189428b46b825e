import math

import pytest
from omegaconf import OmegaConf
from support.composing import bound, plain
from support.tiny import tiny_config

from kdfeatures.distillation.schedules import Cosine, Linear, Steps, read_schedule, value_at
from kdfeatures.errors import UserError

MODEL = tiny_config("bert")
LINEAR = "{schedule: linear, start: 1.0, end: 0.25}"


def built(*overrides, outputs="classes"):
    config = plain("distill", "recipe=logits", "+loss@losses.hidden=hidden_mse", *overrides)
    return bound(config, MODEL, MODEL, outputs=outputs)[0]


def refused(*overrides):
    with pytest.raises(UserError) as caught:
        built(*overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", [Linear, Cosine])
def test_a_schedule_goes_from_start_to_end(kind):
    schedule = kind(start=2.0, end=-1.0)
    values = [schedule.at(n / 10) for n in range(11)]
    assert values == sorted(values, reverse=True)
    assert [values[0], values[5], values[10]] == pytest.approx([2.0, 0.5, -1.0])


def test_the_cosine_is_slow_at_both_ends_and_the_line_is_not():
    cosine, line = Cosine(1.0, 0.0), Linear(1.0, 0.0)
    assert cosine.at(0.1) == pytest.approx((1 + math.cos(math.pi / 10)) / 2)
    assert cosine.at(0.1) > line.at(0.1) and cosine.at(0.9) < line.at(0.9)


@pytest.mark.parametrize(("epochs", "steps"), [(1, 5), (3, 7), (49, 1), (49, 3), (11, 13)])
def test_a_list_with_a_value_an_epoch_changes_with_the_epoch(epochs, steps):
    schedule = Steps(list(range(epochs)))
    total = epochs * steps
    assert [schedule.at(step / total) for step in range(total)] == [step // steps for step in range(total)]
    assert schedule.at(1.0) == epochs - 1


def test_a_number_is_constant():
    assert value_at(0.3, 0.0) == value_at(0.3, 0.9) == 0.3


def test_weights_and_temperatures_follow_their_schedules():
    made = built(f"losses.hidden.weight={LINEAR}", "losses.logits.temperature={schedule: list, values: [4, 1]}")
    assert made.terms["hidden"].weight == Linear(1.0, 0.25)
    for progress, weight, temperature in ((0.0, 1.0, 4), (0.4, 0.7, 4), (0.6, 0.55, 1), (1.0, 0.25, 1)):
        made.advance(progress)
        assert made.weights == pytest.approx({"labels": 0.5, "logits": 0.5, "hidden": weight})
        assert made.terms["logits"].loss.temperature == temperature
        assert made.scheduled() == pytest.approx({"weight/hidden": weight, "temperature/logits": temperature})


def test_constant_terms_are_not_reported_as_scheduled():
    assert built().scheduled() == {}


def test_a_schedule_may_stand_in_a_file_and_a_number_may_replace_it():
    assert built(f"losses.hidden.weight={LINEAR}", "losses.hidden.weight=2").terms["hidden"].weight == 2
    recipe = OmegaConf.merge({"weight": 1.0}, OmegaConf.create(f"weight: {LINEAR}"))
    assert read_schedule(OmegaConf.to_container(recipe.weight)) == Linear(1.0, 0.25)


def test_a_regression_has_no_temperature_to_schedule():
    made = built("losses.logits.temperature={schedule: linear, start: 4, end: 1}", outputs="score")
    made.advance(0.5)
    assert type(made.terms["logits"].loss).__name__ == "LogitMSE" and made.scheduled() == {}


def test_an_unknown_schedule_is_refused_with_the_nearest():
    told = refused("losses.hidden.weight={schedule: liner, start: 1, end: 0}")
    assert told.startswith("losses.hidden.weight.schedule=liner is unknown; did you mean 'linear'?")
    assert told.endswith("choose one of linear, cosine, list, or give a number: losses.hidden.weight=0.5.")
    told = refused("losses.hidden.weight={start: 1, end: 0}")
    assert told.startswith("losses.hidden.weight.schedule=None is unknown")


def test_fields_that_a_schedule_lacks_or_does_not_have_are_named():
    told = refused("losses.hidden.weight={schedule: cosine, start: 1}")
    assert told == "losses.hidden.weight has schedule=cosine, which takes start and end, but gives start."
    told = refused("losses.hidden.weight={schedule: list, start: 1, end: 0}")
    assert told == "losses.hidden.weight has schedule=list, which takes values, but gives start and end."
    assert refused("losses.hidden.weight={schedule: list}").endswith("which takes values, but gives none.")


@pytest.mark.parametrize("value", ["high", "null", "true", ".nan", "[1]"])
def test_a_bound_that_is_no_number_is_refused(value):
    told = refused("losses.hidden.weight={schedule: linear, start: 1, end: " + value + "}")
    assert told.startswith("losses.hidden.weight.end=") and told.endswith(" must be a finite number.")


def test_a_list_without_numbers_is_refused():
    told = refused("losses.hidden.weight={schedule: list, values: []}")
    assert told == "losses.hidden.weight.values=[] must be a list of at least one number, as [1.0, 0.5]."
    assert "values=5 must be a list" in refused("losses.hidden.weight={schedule: list, values: 5}")
    told = refused("losses.hidden.weight={schedule: list, values: [1, few]}")
    assert told == "losses.hidden.weight.values=few must be a finite number."


def test_a_weight_that_becomes_negative_is_refused():
    told = refused("losses.hidden.weight={schedule: linear, start: 1, end: -0.5}")
    assert told == "losses.hidden.weight goes down to -0.5, but a weight must not be negative."


def test_a_temperature_that_reaches_zero_is_refused():
    told = refused("losses.logits.temperature={schedule: linear, start: 4, end: 0}")
    assert told == "losses.logits.temperature=0.0 must be a finite number above 0; 1 is neutral."


def test_a_temperature_of_a_loss_that_has_none_is_refused():
    told = refused("+losses.hidden.temperature={schedule: linear, start: 4, end: 1}")
    assert told.startswith("losses.hidden: ") and "temperature" in told
