import re

import pytest

from kdfeatures.pages.curves import COLOURS, MOST_POINTS, Curve, curves_html


def lines(text):
    found = re.findall(r'<polyline class="([^"]+)" data-group="(\d+)" points="([^"]+)"', text)
    return [
        (kind, int(group), [tuple(map(float, p.split(","))) for p in points.split()]) for kind, group, points in found
    ]


def test_lines_run_from_step_0_to_the_last_and_share_the_scale_of_their_panel():
    text = curves_html(
        {"hidden": [Curve("a", "a, seed 1", [50, 100], [3, 1]), Curve("b", "b", [200], [2])]}, caption="c"
    )
    (_, first, points), (_, second, other) = lines(text)
    assert (first, second) == (0, 1)
    assert points == [(25, 0), (50, 100)] and other[0] == (100, 50)
    assert len(other) == 2  # a single value is seen
    assert "step 200" in text and ">3<" in text and ">1<" in text


def test_values_of_many_magnitudes_have_a_logarithmic_axis_and_others_do_not():
    far = curves_html({"t": [Curve("a", "a", [1, 2, 3], [100, 1, 0.01])]}, caption="c")
    assert "t (log)" in far and lines(far)[0][2][1][1] == pytest.approx(50)
    for values in ([3, 2, 1], [100, 1, 0], [100, 1, -1]):
        near = curves_html({"t": [Curve("a", "a", [1, 2, 3], values)]}, caption="c")
        assert "(log)" not in near


def test_a_constant_and_a_run_of_no_steps_are_drawn():
    text = curves_html({"t": [Curve("a", "a", [0], [1.0])]}, caption="c")
    assert all(0 <= y <= 100 for _, y in lines(text)[0][2])


def test_long_logs_are_thinned_and_keep_their_last_value():
    steps = list(range(10, 10010, 10))
    (_, _, points) = lines(curves_html({"t": [Curve("a", "a", steps, steps)]}, caption="c"))[0]
    assert len(points) <= MOST_POINTS + 1 and points[-1] == (100, 0)


def test_arms_beyond_the_colours_are_told_apart_by_dashes():
    panels = {"t": [Curve(str(n), str(n), [1, 2], [1, 2]) for n in range(2 * COLOURS)]}
    kinds = [kind for kind, *_ in lines(curves_html(panels, caption="c"))]
    assert len(set(kinds)) == 2 * COLOURS


def test_names_are_no_markup():
    text = curves_html({"<b>": [Curve("<i>", "<u>", [1], [1])]}, caption="<s>")
    assert not re.search(r"<[bius]>", text)
