import re

import pytest

from kdfeatures.pages.intervals import Interval, intervals_html


def places(text):
    """Return the x of each row's ends and circle, and of the line at 0, in percent."""
    zero = float(re.search(r'class="zero" x1="([\d.]+)%"', text)[1])
    rows = re.findall(r'<g class="(\w+)"><line x1="([\d.]+)%" x2="([\d.]+)%"[^>]*/><circle cx="([\d.]+)%"', text)
    return zero, [(kind, *map(float, ends)) for kind, *ends in rows]


def drawn(*rows):
    return intervals_html(rows, caption="c", sides=("worse", "better"))


def test_intervals_lie_on_one_scale_with_0():
    zero, rows = places(drawn(Interval("a", 2, 1, 4), Interval("b", -1, -3, 1)))
    (_, low, high, value), (_, low_b, high_b, value_b) = rows
    point = (high - low) / 3
    assert low == pytest.approx(zero + point, abs=0.02) and value == pytest.approx(zero + 2 * point, abs=0.02)
    assert (low_b, value_b, high_b) == pytest.approx((zero - 3 * point, zero - point, zero + point), abs=0.03)
    assert all(0 < place < 100 for row in rows for place in row[1:])


def test_an_interval_that_holds_0_looks_otherwise():
    _, rows = places(drawn(Interval("a", 2, 1, 4), Interval("b", -1, -3, 1), Interval("c", -2, -3, -1)))
    assert [kind for kind, *_ in rows] == ["beyond", "within", "beyond"]


@pytest.mark.parametrize("scale", [1e-4, 1.0, 37.0, 1e5])
def test_the_axis_has_a_few_round_numbers_and_0(scale):
    text = drawn(Interval("a", scale, -0.3 * scale, 2 * scale))
    labels = re.findall(r"<text[^>]*>([^<]+)</text>", text)
    assert "0" in labels and 3 <= len(labels) <= 8
    assert all(len(label) <= 8 for label in labels)


def test_nothing_to_tell_apart_is_drawn_too():
    zero, [(kind, low, high, value)] = places(drawn(Interval("a", 0, 0, 0)))
    assert kind == "within" and low == high == value == zero


def test_names_are_no_markup():
    text = intervals_html([Interval("<b>", 1, 0, 2)], caption="<i>", sides=("<u>", "<s>"))
    assert not re.search(r"<[bius]>", text)
