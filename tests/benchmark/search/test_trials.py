"""Trials one after the other: what fails, what ends a search, and what is left behind."""

import pytest

from kdfeatures.benchmark.search import trials as module
from kdfeatures.benchmark.search.settings import SearchSettings
from kdfeatures.benchmark.search.space import Number, OneOfSeveral
from kdfeatures.benchmark.search.study import open_study
from kdfeatures.benchmark.search.trials import PROBLEM, Trials
from kdfeatures.errors import Diverged, UserError

pytest.importorskip("optuna")
SPACE = {"rate": Number("trainer.learning_rate", 1e-5, 1e-3), "map": OneOfSeveral({"a": [], "b": []})}
SETTINGS = SearchSettings(trials=6, random=6, reduction=None, space=SPACE)


class Results:
    metric, split = "accuracy", "selection"

    def __init__(self, score):
        self.student = type("Student", (), {"metrics": {"selection": {"accuracy": score}}})


def trials_of(folder, monkeypatch, outcomes):
    """Return trials whose runs end with these, one after another: a score, or what is raised."""
    remaining = iter(outcomes)

    def run(settings, place, report):
        (place / "weights").mkdir(parents=True)
        outcome = next(remaining)
        if isinstance(outcome, Exception):
            raise outcome
        report(1, outcome)
        return Results(outcome)

    monkeypatch.setattr(module, "run_distillation", run)
    monkeypatch.setattr(Trials, "_settings", lambda self, chosen, folder: None)
    monkeypatch.setattr(Trials, "_same_steps", lambda self, chosen: [])
    return Trials(open_study(folder, SETTINGS, [], 1), folder, SETTINGS, [], 1)


def test_a_trial_that_fails_costs_the_others_nothing(tmp_path, monkeypatch, capsys):
    made = trials_of(tmp_path, monkeypatch, [0.5, UserError("no such map"), MemoryError("out of\nmemory"),
                                             Diverged("the loss is nan"), 0.7, 0.6])  # fmt: skip
    assert made.run() is False
    told = made.study.trials
    assert [trial.state.name for trial in told] == ["COMPLETE", "FAIL", "FAIL", "FAIL", "COMPLETE", "COMPLETE"]
    problems = [trial.user_attrs.get(PROBLEM) for trial in told]
    assert problems[1:4] == ["no such map", "MemoryError: out of", problems[3]] and "loss is nan" in problems[3]
    assert made.study.best_trial.number == 4 and not list(tmp_path.glob("trial-*"))
    assert "[2/6] fail (no such map): rate" in capsys.readouterr().out


def test_a_search_ends_when_its_first_trials_all_fail(tmp_path, monkeypatch):
    made = trials_of(tmp_path, monkeypatch, [UserError(f"bad teacher {number}") for number in range(6)])
    with pytest.raises(UserError, match="the first 3 trials failed; the last: bad teacher 2"):
        made.run()
    assert len(made.study.trials) == 3
