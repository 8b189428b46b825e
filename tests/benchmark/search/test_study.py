"""Trials in their storage: the same draws by the same seed, each trial by one process, broken ones begun again."""

import pytest

from kdfeatures.benchmark.search.outcome import Outcome, trials_csv
from kdfeatures.benchmark.search.settings import SearchSettings
from kdfeatures.benchmark.search.space import Number, OneOfSeveral
from kdfeatures.benchmark.search.study import next_trial, open_study
from kdfeatures.benchmark.search.trials import OVERRIDES, PROBLEM, SECONDS
from kdfeatures.errors import UserError

optuna = pytest.importorskip("optuna")
STATES = optuna.trial.TrialState
SPACE = {"rate": Number("trainer.learning_rate", 1e-5, 1e-3, log=True), "map": OneOfSeveral({"a": ["x=1"], "b": []})}


def settings(trials=6, **more):
    return SearchSettings(**{"trials": trials, "random": 3, "reduction": 3, "space": SPACE} | more)


def score_of(rate):
    return 1 - abs(rate - 3e-4)


def make(folder, count, seed=1, trials=6):
    """Make `count` trials and return what they chose."""
    study, made = open_study(folder, settings(trials), ["task=mrpc"], seed), []
    for _ in range(count):
        with next_trial(study, folder, settings(trials), seed) as trial:
            overrides = [text for name, choice in SPACE.items() for text in choice.overrides(name, trial)]
            trial.set_user_attr(OVERRIDES, overrides)
            trial.set_user_attr(SECONDS, 30.0)
            study.tell(trial, score_of(trial.params["rate"]))
            made.append(dict(trial.params))
    return study, made


def test_the_same_seed_draws_the_same_trials_in_one_call_or_in_two(tmp_path):
    _, at_once = make(tmp_path / "a", 6)
    _, first = make(tmp_path / "b", 2)
    _, rest = make(tmp_path / "b", 4)
    assert first + rest == at_once and len({params["rate"] for params in at_once}) == 6
    assert make(tmp_path / "c", 1, seed=2)[1] != at_once[:1]


def test_there_are_no_more_trials_than_there_shall_be(tmp_path):
    study, _ = make(tmp_path, 6)
    with next_trial(study, tmp_path, settings(), 1) as trial:
        assert trial is None
    assert make(tmp_path, 1, trials=7)[0].trials[-1].number == 6


def test_a_trial_that_was_broken_off_is_run_again_and_one_that_runs_is_left(tmp_path):
    study, _ = make(tmp_path, 1)
    with next_trial(study, tmp_path, settings(), 1) as broken:
        rate = broken.suggest_float("rate", 1e-5, 1e-3, log=True)  # and then nothing: its process is gone
    other = open_study(tmp_path, settings(), ["task=mrpc"], 1)
    with next_trial(other, tmp_path, settings(), 1) as again:
        assert again.number == broken.number == 1
        assert again.suggest_float("rate", 1e-5, 1e-3, log=True) == rate
        with next_trial(study, tmp_path, settings(), 1) as beside:
            assert beside.number == 2


@pytest.mark.parametrize(
    ("changed", "shared", "seed", "told"),
    [
        ({}, ["task=rte"], 1, "overrides.0"),
        ({}, ["task=mrpc"], 2, "seed"),
        ({"reduction": None}, ["task=mrpc"], 1, "search.reduction"),
        ({"space": SPACE | {"map": OneOfSeveral({"a": ["x=1"], "b": ["x=2"]})}}, ["task=mrpc"], 1, "search.space.map"),
    ],
)
def test_trials_of_another_search_are_not_gone_on_with(changed, shared, seed, told, tmp_path):
    make(tmp_path, 1)
    with pytest.raises(UserError, match=told):
        open_study(tmp_path, settings(**changed), shared, seed)


def test_a_search_that_was_refused_before_its_first_trial_leaves_nothing_behind(tmp_path):
    open_study(tmp_path, settings(reduction=None), ["task=rte"], 2)
    assert make(tmp_path, 1)[0].user_attrs["plan"]["seed"] == 1


def test_the_outcome_is_the_best_trial_that_went_to_its_end(tmp_path):
    study, made = make(tmp_path, 5)
    with next_trial(study, tmp_path, settings(), 1) as trial:
        trial.suggest_float("rate", 1e-5, 1e-3, log=True)
        trial.report(0.99999999, 2)
        study.tell(trial, state=STATES.PRUNED)
    outcome = Outcome.of(study)
    best = max(range(5), key=lambda number: score_of(made[number]["rate"]))
    assert outcome.number == best and outcome.score == score_of(made[best]["rate"])
    assert outcome.overrides[0] == f"trainer.learning_rate={made[best]['rate']:.6g}"
    assert outcome.counts == {"complete": 5, "pruned": 1, "failed": 0} and outcome.minutes == 2.5
    assert outcome.importance["rate"] > outcome.importance["map"]
    assert sum(outcome.importance.values()) == pytest.approx(1)
    for seen in (False, True):
        text = outcome.text("mrpc", "10% of the training examples", "kdfeatures distill", has_seen=seen)
        assert ("by a teacher that has not seen these." in text, "was trained on these, too" in text) == (
            not seen,
            seen,
        )
    lines = trials_csv(study).splitlines()
    assert lines[0] == "trial,state,score,epochs,seconds,rate,map,problem"
    assert lines[6].startswith("5,pruned,1.0,2,,")


def test_a_search_whose_trials_all_failed_says_why(tmp_path):
    study = open_study(tmp_path, settings(), [], 1)
    with next_trial(study, tmp_path, settings(), 1) as trial:
        trial.set_user_attr(PROBLEM, "mapping=skip leaves nothing")
        study.tell(trial, state=STATES.FAIL)
    with pytest.raises(UserError, match="none of 1 trials went to its end. The first one failed: mapping=skip"):
        Outcome.of(study)
