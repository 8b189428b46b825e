import numpy as np
import pytest

import kdfeatures as kd

OBJECTIVE = kd.Objective(logits=kd.losses.LogitKD(), hidden=kd.losses.HiddenMSE())


def test_terms_are_changed_added_and_left_out():
    recipe = kd.Recipe("mine", {"": OBJECTIVE}).replace(
        hidden=None, logits=kd.Term(kd.losses.LogitKD(), weight=0.5), labels=kd.losses.HardLabel()
    )
    assert {name: term.weight for name, term in recipe.terms.items()} == {"logits": 0.5, "labels": 1.0}
    assert set(recipe.changes) == {"hidden", "logits", "labels"} and recipe.changes["hidden"] is None
    assert list(OBJECTIVE.terms) == ["logits", "hidden"]


@pytest.mark.parametrize("changeable", [OBJECTIVE, kd.Recipe("mine", {"": OBJECTIVE}), kd.recipe("tinybert")])
def test_a_term_that_is_not_there_cannot_be_left_out(changeable):
    with pytest.raises(kd.ConfigError, match="no term 'hiden' to leave out; did you mean 'hidden'"):
        changeable.replace(hiden=None)


def test_a_term_is_added_to_one_of_several_stages():
    with pytest.raises(kd.ConfigError, match="no stage of the recipe 'tinybert' has a term 'labels'; add it to"):
        kd.recipe("tinybert").replace(labels=kd.losses.HardLabel())


@pytest.mark.parametrize("weight", [np.float32(0.5), np.float64(0.5), np.int64(2), 0])
def test_a_weight_is_any_real_number(weight):
    assert kd.Term(kd.losses.LogitKD(), weight=weight).weight == weight


@pytest.mark.parametrize("weight", [True, -1, float("nan"), float("inf"), "1", None, 1j])
def test_what_is_no_weight_is_refused(weight):
    with pytest.raises(kd.ConfigError, match="weight=.* must be a finite number that is not negative"):
        kd.Term(kd.losses.LogitKD(), weight=weight)


def test_a_function_of_two_is_no_loss_on_hidden_states():
    with pytest.raises(kd.ConfigError, match=r"is called with 3 arguments.*FunctionLoss\(function, inputs='logits'\)"):
        kd.Term(lambda student, teacher: (student - teacher).mean())
    assert kd.losses.FunctionLoss(lambda student, teacher: student, inputs="logits").inputs == "logits"
    with pytest.raises(kd.ConfigError, match="is called with 2 arguments for inputs='labels'"):
        kd.losses.FunctionLoss(lambda student, labels, mask: student, inputs="labels")
