import math

import pytest
from support.composing import bound, plain
from support.refused import refused_as
from support.tiny import tiny_config

from kdfeatures.config.switches import balancer, check_shares
from kdfeatures.distillation.balancing import GradientBalancer
from kdfeatures.errors import UserError

WEIGHTS = {"hidden": 1.0, "attention": 2.0, "logits": 0.5}
NORMS = {"hidden": 8.0, "attention": 0.5, "logits": 2.0}
MODEL = tiny_config("bert", layers=3)


def balance(shares=None, *, every=10, momentum=0.5, limit=1000.0):
    return GradientBalancer(shares or {}, every=every, momentum=momentum, limit=limit)


def told(made, norms=NORMS):
    made.note(norms)
    return made


def test_weighted_norms_have_the_stated_shares_and_the_sum_of_the_configured_weights():
    weights = told(balance({"logits": 2.0})).weights(WEIGHTS, WEIGHTS)
    weighted = {name: weights[name] * NORMS[name] for name in NORMS}
    # 8 + 1 + 1 in shares of 1, 1 and 2
    assert weighted == pytest.approx({"hidden": 2.5, "attention": 2.5, "logits": 5.0})


def test_before_anything_is_measured_the_weights_are_the_configured_ones():
    assert balance().weights(WEIGHTS, WEIGHTS) == WEIGHTS


def test_norms_are_smoothed_from_the_first_measurement_on():
    made = balance(momentum=0.75)
    for norm, smoothed in ((4.0, 4.0), (8.0, 5.0), (1.0, 4.0)):
        made.note({"hidden": norm})
        assert made.norms["hidden"] == pytest.approx(smoothed)


@pytest.mark.parametrize("norm", [math.nan, math.inf])
def test_a_norm_that_is_no_number_changes_nothing(norm):
    made = told(told(balance()), NORMS | {"hidden": norm})
    assert made.norms == NORMS


def test_a_term_without_gradient_or_weight_keeps_its_weight_and_is_left_out_of_the_sums():
    without = told(balance(), NORMS | {"logits": 0.0}).weights(WEIGHTS, WEIGHTS)
    assert without == pytest.approx({"hidden": 4.5 / 8, "attention": 4.5 / 0.5, "logits": 0.5})
    off = {**WEIGHTS, "logits": 0.0}
    assert told(balance()).weights(off, off) == pytest.approx(without | {"logits": 0.0})
    assert told(balance(), dict.fromkeys(NORMS, 0.0)).weights(WEIGHTS, WEIGHTS) == WEIGHTS


def test_a_scheduled_weight_acts_on_its_share():
    half = {**WEIGHTS, "attention": 1.0}
    weights = told(balance()).weights(half, WEIGHTS)
    weighted = {name: weights[name] * NORMS[name] for name in NORMS}
    whole = 8.0 + 0.5 + 1.0
    assert weighted == pytest.approx({"hidden": whole * 0.4, "attention": whole * 0.2, "logits": whole * 0.4})
    off = {**WEIGHTS, "attention": 0.0}
    assert told(balance()).weights(off, WEIGHTS)["attention"] == 0.0


def test_a_weight_stays_within_the_limit():
    weights = told(balance(limit=4.0), {"hidden": 1.0, "attention": 1e-9, "logits": 1.0}).weights(WEIGHTS, WEIGHTS)
    assert weights["attention"] == 8.0
    weights = told(balance(limit=4.0), {"hidden": 1e3, "attention": 1.0, "logits": 1.0}).weights(WEIGHTS, WEIGHTS)
    assert weights["attention"] == 8.0 and weights["hidden"] == pytest.approx((1e3 + 2.5) / 3e3)


def test_it_is_due_at_the_first_step_and_every_few_after_it():
    assert [step for step in range(12) if balance(every=5).due(step)] == [0, 5, 10]


@pytest.mark.parametrize(
    ("settings", "message", "more"),
    [
        (
            {"shares": {"hidden": 0.0}},
            "shares.hidden=0.0 must be a finite number above 0",
            "; ~losses.hidden drops",
        ),
        ({"shares": {"hidden": math.inf}}, "shares.hidden=inf must be", ""),
        ({"every": 0}, "every=0 must be at least 1 step", ""),
        ({"momentum": 1.0}, "momentum=1.0 must be from 0, no smoothing, to below 1", ""),
        ({"momentum": -0.1}, "momentum=-0.1 must be", ""),
        ({"limit": 0.5}, "limit=0.5 must be a finite number from 1", ""),
    ],
)
def test_numbers_that_make_no_sense_are_refused_by_value(settings, message, more):
    with refused_as(f"^{message}", "balance", f"balance.{message}{more}"):
        balance(**settings)


def built(*overrides):
    return bound(plain("distill", *overrides), MODEL, MODEL)[0]


def test_a_run_is_balanced_where_its_config_says_so_and_there_are_terms_to_balance():
    assert built("recipe=logits").balance is None
    assert built("recipe=hard", "balance=shares").balance is None
    made = built("recipe=logits", "balance=shares", "balance.shares={labels: 3}", "balance.every=7").balance
    assert (made.share("labels"), made.share("logits"), made.every, made.momentum) == (3.0, 1.0, 7, 0.5)


def test_an_objective_takes_its_weights_from_the_balance_and_reports_them():
    made = built("recipe=logits", "balance=shares", "losses.logits.weight={schedule: linear, start: 1.0, end: 0.0}")
    assert made.scheduled() == {"weight/labels": 0.5, "weight/logits": 1.0}
    made.balance.note({"labels": 4.0, "logits": 1.0})
    assert made.weights == {"labels": 0.5, "logits": 1.0}  # until the next step
    made.advance(0.5)
    # 0.5 * 4 + 0.5 * 1, two parts for the labels and one for logits whose weight has come half way down
    assert made.scheduled() == pytest.approx(
        {"weight/labels": 2.5 * 2 / 3 / 4, "weight/logits": 2.5 / 3, "gradient/labels": 4.0, "gradient/logits": 1.0}
    )


def test_options_without_effect_and_shares_of_no_term_are_told():
    with pytest.raises(UserError, match="^balance.every=3 has no effect with balance=off; say balance=shares.$"):
        balancer({"balance": {"every": 3}})
    config = plain("distill", "recipe=logits", "balance=shares", "balance.shares={label: 3}")
    with pytest.raises(
        UserError, match="balance.shares.label names no term; did you mean 'labels'.*has labels, logits"
    ):
        check_shares(config, ["labels", "logits"])
