import pytest

from kdfeatures.evaluation.timing import Spread, alternating_seconds, ratios


def test_variants_alternate_and_each_round_begins_with_another():
    calls = []
    variants = {name: lambda name=name: calls.append(name) for name in "abc"}
    seconds = alternating_seconds(variants, rounds=2, warm_ups=1)
    rounds = [calls[start : start + 3] for start in range(0, 9, 3)]
    assert all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert len({names[0] for names in rounds}) == 3
    assert list(seconds) == ["a", "b", "c"] and all(len(taken) == 2 for taken in seconds.values())


def test_a_ratio_is_taken_within_each_round():
    # a machine that slows down fourfold half-way leaves it as it is, while the ratio of medians would be 2 / 2.5
    assert ratios([2.0, 2.0, 8.0], [1.0, 1.0, 4.0]) == Spread(2.0, 2.0, 2.0)


def test_a_spread_is_the_median_with_its_percentiles():
    spread = Spread.of(list(range(1, 10)))
    assert spread.median == 5
    assert (spread.low, spread.high) == pytest.approx((2.0, 8.0))
