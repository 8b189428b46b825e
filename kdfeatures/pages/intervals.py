"""Values with their intervals around a line at 0, as rows of inline SVG that take the width there is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from kdfeatures.pages.shell import html_text

STYLE = Path(__file__).with_name("intervals.css")
EDGE = 0.06  # of the range, left free on both sides
STEPS = (1, 2, 5)
MOST_TICKS = 6


class Interval(NamedTuple):
    """A row: a value and the ends of its interval."""

    name: str
    value: float
    low: float
    high: float


def gains_html(gains: Iterable[tuple[str, float, float, float]], baseline: str, *, caption: str) -> str:
    """Return what arms gain over a baseline, (name, value, low, high) as fractions, in points; nothing for none."""
    rows = [Interval(name, *(100 * value for value in values)) for name, *values in gains]
    if not rows:
        return ""
    caption = f"{caption}, with its 95% interval; filled where that does not hold 0."
    return intervals_html(rows, caption=caption, sides=(f"worse than {baseline}", f"better than {baseline}"))


def intervals_html(rows: Sequence[Interval], *, caption: str, sides: tuple[str, str]) -> str:
    """Return the rows, one below the other, over one axis. sides: what values below and above 0 mean.

    A filled circle has an interval without 0, a hollow one an interval that holds it.
    """
    low, high = min(0.0, *(row.low for row in rows)), max(0.0, *(row.high for row in rows))
    room = (high - low or 1.0) * EDGE
    low, high = low - room, high + room

    def at(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    ticks = _ticks(low, high)
    grid = "".join(f'<line class="grid" x1="{at(tick)}" x2="{at(tick)}" y1="0" y2="100%"/>' for tick in ticks if tick)
    zero = f'<line class="zero" x1="{at(0)}" x2="{at(0)}" y1="0" y2="100%"/>'
    shown = [
        f'<div class="interval"><span class="who" dir="auto">{html_text(row.name)}</span>'
        f'<svg height="26" aria-hidden="true">{grid}{zero}{_mark(row, at)}</svg>'
        f'<span class="what">{row.value:+.1f} [{row.low:+.1f}, {row.high:+.1f}]</span></div>'
        for row in rows
    ]
    labels = "".join(f'<text x="{at(tick)}" y="15" text-anchor="middle">{_label(tick)}</text>' for tick in ticks)
    below, above = (html_text(side) for side in sides)
    return (
        f'<figure class="intervals"><figcaption class="caption">{html_text(caption)}</figcaption>\n'
        + "\n".join(shown)
        + f'\n<div class="interval axis" aria-hidden="true"><span class="who"></span><svg height="20">{labels}</svg>'
        f'<span class="what"></span></div>\n<p class="sides"><span>← {below}</span><span>{above} →</span></p></figure>'
    )


def _mark(row: Interval, at) -> str:
    kind = "beyond" if row.low > 0 or row.high < 0 else "within"
    return (
        f'<g class="{kind}"><line x1="{at(row.low)}" x2="{at(row.high)}" y1="50%" y2="50%"/>'
        f'<circle cx="{at(row.value)}" cy="50%" r="5"/></g>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Return round numbers in a range, 0 among them."""
    least = (high - low) / MOST_TICKS
    scale = 10 ** math.floor(math.log10(least))
    step = next(scale * one for one in (*STEPS, 10) if scale * one >= least)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _label(tick: float) -> str:
    return "0" if tick == 0 else f"{tick:+g}"
