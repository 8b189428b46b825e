"""What is chosen: numbers and lists of overrides, and what cannot be either."""

import pytest

from kdfeatures.benchmark.search.settings import SearchSettings, check_tasks
from kdfeatures.benchmark.search.space import read_space
from kdfeatures.errors import UserError

SPACE = {
    "rate": {"option": "trainer.learning_rate", "low": 1e-5, "high": 1e-3, "log": True},
    "hidden": {"option": "losses.hidden.weight", "low": 0, "high": 2},
    "map": {"choices": {"uniform": ["mapping=uniform"], "no map": ["~losses.hidden", "~losses.attention"]}},
}


class Drawn:
    """A trial that takes the lowest number and the last choice, and keeps what it was asked."""

    def __init__(self):
        self.asked = {}

    def suggest_float(self, name, low, high, *, log=False):
        self.asked[name] = low, high, log
        return low

    def suggest_categorical(self, name, choices):
        self.asked[name] = choices
        return choices[-1]


def test_a_trial_chooses_overrides_by_the_names_of_the_space():
    trial, space = Drawn(), read_space(SPACE)
    chosen = [text for name, choice in space.items() for text in choice.overrides(name, trial)]
    assert chosen == ["trainer.learning_rate=1e-05", "losses.hidden.weight=0", "~losses.hidden", "~losses.attention"]
    assert trial.asked == {"rate": (1e-5, 1e-3, True), "hidden": (0, 2, False), "map": ["uniform", "no map"]}


@pytest.mark.parametrize(
    ("node", "told"),
    [
        (3, r"search\.space\.x=3 must say what is chosen"),
        ({"option": "seed", "low": 1, "hihg": 2}, r"search\.space\.x\.hihg is unknown.*high"),
        ({"choices": {"a": [], "b": []}, "low": 1}, r"search\.space\.x\.low is unknown"),
        ({"option": "seed", "low": 1}, r"search\.space\.x\.high is missing"),
        ({"option": "~seed", "low": 1, "high": 2}, r"search\.space\.x\.option=~seed must be the name of an option"),
        ({"option": "seed", "low": True, "high": 2}, r"search\.space\.x\.low=True must be a finite number"),
        ({"option": "seed", "low": 1, "high": float("inf")}, r"search\.space\.x\.high=inf must be a finite number"),
        ({"option": "seed", "low": 2, "high": 2}, r"search\.space\.x\.low=2 must be below search\.space\.x\.high=2"),
        ({"option": "seed", "low": 0, "high": 2, "log": True}, r"search\.space\.x\.low=0 must be above 0"),
        ({"option": "seed", "low": 1, "high": 2, "log": 1}, r"search\.space\.x\.log=1 must be true or false"),
        ({"choices": {"a": []}}, r"search\.space\.x\.choices=.* must name two or more"),
        ({"choices": {"a": [], "b": "mapping=last"}}, r"search\.space\.x\.choices\.b=mapping=last must be a list"),
    ],
)
def test_what_cannot_be_chosen_from_is_named(node, told):
    with pytest.raises(UserError, match=told):
        read_space({"x": node})


def test_the_extremes_of_a_space_are_what_must_be_possible():
    extremes = {name: dict(choice.extremes()) for name, choice in read_space(SPACE).items()}
    assert extremes["hidden"] == {"low": ["losses.hidden.weight=0"], "high": ["losses.hidden.weight=2"]}
    assert extremes["map"] == {f"choices.{name}": overrides for name, overrides in SPACE["map"]["choices"].items()}


def test_a_search_without_anything_to_choose_and_of_several_tasks_is_refused():
    config = {"search": {"trials": 3, "random": 1, "reduction": 3, "space": {}}}
    with pytest.raises(UserError, match=r"search\.space is empty"):
        SearchSettings.read(config)
    with pytest.raises(UserError, match="a search is of one task"):
        check_tasks(["mrpc", "rte"])
