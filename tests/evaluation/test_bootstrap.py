import numpy as np
import pytest

from kdfeatures.errors import UserError
from kdfeatures.evaluation.bootstrap import central, seeds_bootstrap, seeds_interval, seeds_resamples
from kdfeatures.evaluation.metrics import accuracy, mcc
from kdfeatures.evaluation.multilabel import micro_f1


@pytest.fixture
def answers():
    """Two models' answers, (1 seed, 400 examples) each, and labels."""
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=400)
    a = np.where(generator.random(400) < 0.8, labels, 1 - labels)
    b = np.where(generator.random(400) < 0.95, a, 1 - a)  # mostly a's answers
    return a[None], b[None], labels


def noisy_runs(labels, rates, seed=1):
    """Answers of a run for each rate, the share of examples that it has right, (seeds, examples)."""
    generator = np.random.default_rng(seed)
    return np.where(generator.random((len(rates), len(labels))) < np.asarray(rates)[:, None], labels, 1 - labels)


def test_the_interval_of_accuracy_is_the_binomial_one(answers):
    a, _, labels = answers
    mean = accuracy(a[0], labels)
    half = 1.96 * np.sqrt(mean * (1 - mean) / len(labels))
    low, high = seeds_interval(accuracy, a, labels, resamples=4000)
    assert [low, high] == pytest.approx([mean - half, mean + half], abs=0.006)


def test_the_interval_over_seeds_is_that_of_their_spread_and_of_the_examples(answers):
    """With 40 seeds whose accuracies differ by chance of their own, both variances add up."""
    _, _, labels = answers
    runs = noisy_runs(labels, np.clip(np.random.default_rng(1).normal(0.8, 0.05, size=40), 0, 1))
    low, high = seeds_interval(accuracy, runs, labels, resamples=2000)
    scores, by_example = (runs == labels).mean(1), (runs == labels).mean(0)
    half = 1.96 * np.sqrt(scores.var() / 40 + by_example.var() / 400)
    assert [low, high] == pytest.approx([scores.mean() - half, scores.mean() + half], abs=0.003)


def test_the_paired_interval_is_that_of_the_differences_by_example_and_by_seed(answers):
    """Of accuracy, whose difference is the mean of what each example and seed adds: its variances add up."""
    _, _, labels = answers
    generator = np.random.default_rng(2)
    a = noisy_runs(labels, np.clip(generator.normal(0.8, 0.05, size=40), 0, 1))
    b = np.where(generator.random(a.shape) < 0.9, a, 1 - a)
    difference, low, high = seeds_bootstrap(accuracy, a, b, labels, resamples=2000)
    gains = (a == labels).astype(float) - (b == labels)
    # rows and columns drawn apart: the pigeonhole bootstrap (Owen 2007)
    half = 1.96 * np.sqrt(gains.mean(1).var() / 40 + gains.mean(0).var() / 400)
    assert difference == pytest.approx(gains.mean())
    assert [low, high] == pytest.approx([difference - half, difference + half], abs=0.002)


def test_of_one_seed_it_draws_rows_as_a_plain_loop_does(answers):
    a, b, labels = answers
    difference, drawn = seeds_resamples(mcc, a, b, labels, resamples=50, seed=3)
    generator = np.random.default_rng(3)
    rows = [generator.integers(400, size=400) for _ in range(50)]
    assert difference == mcc(a[0], labels) - mcc(b[0], labels)
    assert drawn.tolist() == [mcc(a[0, row], labels[row]) - mcc(b[0, row], labels[row]) for row in rows]


def test_labels_of_several_outputs_are_drawn_with_their_example():
    generator = np.random.default_rng(0)
    labels = generator.integers(2, size=(300, 4))
    runs = np.stack([np.where(generator.random((300, 4)) < 0.9, labels, 1 - labels) for _ in range(2)])
    low, high = seeds_interval(micro_f1, runs, labels, resamples=200)
    assert low < np.mean([micro_f1(run, labels) for run in runs]) < high


def test_one_example_has_an_interval_without_width(answers):
    a, b, labels = answers
    for seeds in (1, 3):
        ones, twos = (np.repeat(runs[:, :1], seeds, axis=0) for runs in (a, b))
        score = accuracy(ones[0], labels[:1])
        assert seeds_interval(accuracy, ones, labels[:1], resamples=20) == (score, score)
        assert seeds_bootstrap(accuracy, ones, twos, labels[:1], resamples=20)[1:] == (0, 0)


def test_a_higher_level_gives_a_wider_interval(answers):
    a, _, labels = answers
    narrow, wide = (seeds_interval(mcc, a, labels, level=level, resamples=300) for level in (0.5, 0.99))
    assert wide[0] < narrow[0] < mcc(a[0], labels) < narrow[1] < wide[1]


def test_the_central_values_are_quantiles():
    assert central(np.arange(101.0), 0.9) == pytest.approx((5, 95))


def test_the_same_seed_gives_the_same_interval(answers):
    _, _, labels = answers
    runs = noisy_runs(labels, (0.7, 0.8, 0.9))
    first, again = (seeds_interval(accuracy, runs, labels, resamples=50, seed=3) for _ in range(2))
    assert first == again != seeds_interval(accuracy, runs, labels, resamples=50, seed=4)


def test_models_that_agree_mostly_differ_more_surely_when_paired(answers):
    a, b, labels = answers
    difference, low, high = seeds_bootstrap(accuracy, a, b, labels)
    assert difference == accuracy(a[0], labels) - accuracy(b[0], labels)
    assert low < difference < high
    single = seeds_interval(accuracy, a, labels)
    assert high - low < single[1] - single[0]


def test_a_model_does_not_differ_from_itself(answers):
    a, _, labels = answers
    assert seeds_bootstrap(mcc, a, a, labels, resamples=20) == (0, 0, 0)


def test_wrong_arguments_are_refused(answers):
    a, b, labels = answers
    with pytest.raises(UserError, match="labels must be as many, and at least one; got 400, 399"):
        seeds_interval(accuracy, a, labels[1:])
    with pytest.raises(UserError, match="got 400, 0, 400"):
        seeds_bootstrap(accuracy, a, b[:, :0], labels)
    with pytest.raises(UserError, match="runs must be as many, and at least one; got 1, 2"):
        seeds_bootstrap(accuracy, a, b.repeat(2, axis=0), labels)
    with pytest.raises(UserError, match="between 0 and 1, got 95"):
        seeds_interval(accuracy, a, labels, level=95)


def test_seeds_that_disagree_widen_the_interval(answers):
    a, _, labels = answers
    alike, runs = a.repeat(3, axis=0), noisy_runs(labels, (0.7, 0.8, 0.9))
    spread = seeds_bootstrap(accuracy, runs, alike, labels)
    same = seeds_bootstrap(accuracy, runs[1:2].repeat(3, axis=0), alike, labels)
    assert spread[2] - spread[1] > 1.2 * (same[2] - same[1])
    assert spread[0] == pytest.approx(np.mean([accuracy(run, labels) - accuracy(a[0], labels) for run in runs]))
