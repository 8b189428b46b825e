"""Small plots of numbers over steps, side by side, in inline SVG that takes the width there is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from kdfeatures.pages.shell import html_text

STYLE = Path(__file__).with_name("curves.css")
SCRIPT = Path(__file__).with_name("curves.js")
MOST_POINTS = 200  # of a line; more are not told apart
COLOURS = 8  # that curves.css has; lines beyond them are dashed
LOGARITHMIC = 30  # how often the smallest value is in the largest from which on the axis is logarithmic


class Curve(NamedTuple):
    """A line of a group, such as one run of an arm: values at steps, of equal length."""

    group: str
    name: str
    steps: Sequence[float]
    values: Sequence[float]


def curves_html(panels: Mapping[str, Sequence[Curve]], *, caption: str) -> str:
    """Return a plot for each panel, by title, and a key of the groups that hides and shows them in all of them."""
    groups = list(dict.fromkeys(curve.group for curves in panels.values() for curve in curves))
    key = "".join(
        f'<button type="button" aria-pressed="true" data-group="{at}"><svg width="28" height="12" aria-hidden="true">'
        f'<line class="{_kind(at)}" x1="1" x2="27" y1="6" y2="6"/></svg>'
        f'<span dir="auto">{html_text(group)}</span></button>'
        for at, group in enumerate(groups)
    )
    shown = "\n".join(_panel(title, curves, groups) for title, curves in panels.items())
    return (
        f'<div class="curves"><p class="caption">{html_text(caption)}</p>\n'
        f'<div class="key" role="group" aria-label="Arms shown">{key}</div>\n'
        f'<div class="panels">\n{shown}\n</div></div>'
    )


def _panel(title: str, curves: Sequence[Curve], groups: Sequence[str]) -> str:
    values = [value for curve in curves for value in curve.values]
    low, high, last = min(values), max(values), max(curve.steps[-1] for curve in curves) or 1
    is_log = low > 0 and high / low > LOGARITHMIC
    scale = math.log if is_log else float
    bottom, top = scale(low), scale(high)
    middle = (bottom + top) / 2

    def point(step: float, value: float) -> str:
        across = 100 * step / last
        return f"{across:.1f},{100 - 100 * ((scale(value) - bottom) / (top - bottom) if top > bottom else 0.5):.1f}"

    lines = []
    for curve in curves:
        stride = math.ceil(len(curve.steps) / MOST_POINTS)
        at = groups.index(curve.group)
        points = [point(step, value) for step, value in zip(curve.steps, curve.values, strict=True)]
        thinned = points[::stride] + (points[-1:] if (len(points) - 1) % stride else [])
        if len(thinned) == 1:  # a line needs two points to be seen
            across, _, height = thinned[0].partition(",")
            thinned.append(f"{float(across) + 1:.1f},{height}")
        ends = f"{_number(curve.values[0])} to {_number(curve.values[-1])}"
        lines.append(
            f'<polyline class="{_kind(at)}" data-group="{at}" points="{" ".join(thinned)}">'
            f"<title>{html_text(curve.name)}: {ends}</title></polyline>"
        )
    described = f"{title}: {len(curves)} lines, values from {_number(low)} to {_number(high)} over {last:g} steps."
    centre = _number(math.exp(middle) if is_log else middle)
    return (
        f'<figure class="curve"><figcaption>{html_text(title)}{" (log)" if is_log else ""}</figcaption>\n'
        f'<div class="up"><span>{_number(high)}</span><span>{centre}</span><span>{_number(low)}</span></div>\n'
        f'<svg viewBox="-1 -3 102 106" preserveAspectRatio="none" role="img" aria-label="{html_text(described)}">'
        '<path class="grid" d="M0 0H100M0 50H100M0 100H100"/>'
        f'{"".join(lines)}</svg>\n<div class="along"><span>0</span><span>step {last:g}</span></div></figure>'
    )


def _kind(at: int) -> str:
    dashes = at // COLOURS
    return f"line colour{at % COLOURS}" + (f" dash{min(dashes, 2)}" if dashes else "")


def _number(value: float) -> str:
    return f"{value:.3g}"
