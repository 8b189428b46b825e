import numpy as np
import pytest

from kdfeatures.errors import UserError
from kdfeatures.evaluation.bootstrap import bootstrap_interval, paired_bootstrap, seeds_bootstrap, seeds_interval
from kdfeatures.evaluation.metrics import accuracy, mcc


@pytest.fixture
def answers():
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=400)
    a = np.where(generator.random(400) < 0.8, labels, 1 - labels)
    b = np.where(generator.random(400) < 0.95, a, 1 - a)  # mostly a's answers
    return a, b, labels


def test_the_interval_of_accuracy_is_the_binomial_one(answers):
    a, _, labels = answers
    mean = accuracy(a, labels)
    half = 1.96 * np.sqrt(mean * (1 - mean) / len(labels))
    low, high = bootstrap_interval(accuracy, a, labels, resamples=4000)
    assert [low, high] == pytest.approx([mean - half, mean + half], abs=0.006)


def test_the_interval_over_seeds_is_that_of_their_spread_and_of_the_examples(answers):
    """With 40 seeds whose accuracies differ by chance of their own, both variances add up."""
    _, _, labels = answers
    generator = np.random.default_rng(1)
    rates = np.clip(generator.normal(0.8, 0.05, size=40), 0, 1)
    runs = np.where(generator.random((40, 400)) < rates[:, None], labels, 1 - labels)
    low, high = seeds_interval(accuracy, runs, labels, resamples=2000)
    scores, by_example = (runs == labels).mean(1), (runs == labels).mean(0)
    half = 1.96 * np.sqrt(scores.var() / 40 + by_example.var() / 400)
    assert [low, high] == pytest.approx([scores.mean() - half, scores.mean() + half], abs=0.003)


def test_one_seed_has_the_interval_of_its_examples(answers):
    a, _, labels = answers
    assert seeds_interval(accuracy, a[None], labels) == bootstrap_interval(accuracy, a, labels)


def test_a_higher_level_gives_a_wider_interval(answers):
    a, _, labels = answers
    narrow, wide = (bootstrap_interval(mcc, a, labels, level=level, resamples=300) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < mcc(a, labels) < narrow[1] < wide[1]


def test_the_same_seed_gives_the_same_interval(answers):
    a, _, labels = answers
    first, again = (bootstrap_interval(accuracy, a, labels, resamples=50, seed=3) for _ in range(2))
    assert first == again != bootstrap_interval(accuracy, a, labels, resamples=50, seed=4)


def test_models_that_agree_mostly_differ_more_surely_when_paired(answers):
    a, b, labels = answers
    difference, low, high = paired_bootstrap(accuracy, a, b, labels)
    assert difference == accuracy(a, labels) - accuracy(b, labels)
    assert low < difference < high
    single = bootstrap_interval(accuracy, a, labels)
    assert high - low < single[1] - single[0]


def test_a_model_does_not_differ_from_itself(answers):
    a, _, labels = answers
    assert paired_bootstrap(mcc, a, a, labels, resamples=20) == (0, 0, 0)


def test_wrong_arguments_are_refused(answers):
    a, b, labels = answers
    with pytest.raises(UserError, match="got 400, 399"):
        bootstrap_interval(accuracy, a, labels[1:])
    with pytest.raises(UserError, match="got 400, 0, 400"):
        paired_bootstrap(accuracy, a, b[:0], labels)
    with pytest.raises(UserError, match="between 0 and 1, got 95"):
        bootstrap_interval(accuracy, a, labels, level=95)


def test_one_seed_gives_the_paired_interval(answers):
    a, b, labels = answers
    assert seeds_bootstrap(accuracy, a[None], b[None], labels) == pytest.approx(
        paired_bootstrap(accuracy, a, b, labels)
    )


def test_seeds_that_disagree_widen_the_interval(answers):
    a, b, labels = answers
    generator = np.random.default_rng(1)
    noisy = [np.where(generator.random(len(a)) < keep, labels, 1 - labels) for keep in (0.7, 0.8, 0.9)]
    alike = np.stack([a, a, a])
    spread = seeds_bootstrap(accuracy, np.stack(noisy), alike, labels)
    same = seeds_bootstrap(accuracy, np.stack([noisy[1]] * 3), alike, labels)
    assert spread[2] - spread[1] > 1.2 * (same[2] - same[1])
    differences = [accuracy(own, labels) - accuracy(a, labels) for own in noisy]
    assert spread[0] == pytest.approx(np.mean(differences))
