"""Plots of results, drawn without a display."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, GREY = "#0b5fa5", "#6b6b6b"  # told apart in greyscale and by colour-blind readers
ACROSS = 3  # panels side by side


def interval_plot(bars: Sequence[tuple[str, float, float, float]], title: str, path: Path) -> None:
    """Draw one point with its interval per model and save it as PNG. bars: (name, value, low, high), drawn top down.

    The first is the teacher: drawn in grey, with a line through its value.
    """
    figure = Figure(figsize=(7.5, 0.5 * len(bars) + 1.3), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for row, (_, value, low, high) in enumerate(bars):
        colour = GREY if row == 0 else BLUE
        axes.errorbar(
            value,
            row,
            xerr=[[value - low], [high - value]],
            fmt="o",
            color=colour,
            capsize=4,
            markersize=6,
            linewidth=1.8,
        )
        axes.annotate(f"{value:.1f}", (value, row), textcoords="offset points", xytext=(0, 8), ha="center", fontsize=9)
    axes.axvline(bars[0][1], color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(bars)), [name for name, *_ in bars])
    _tidy(axes, len(bars), title)
    figure.savefig(path, dpi=150)


def difference_plot(rows: Sequence[tuple[str, str, float, float, float]], title: str, paths: Sequence[Path]) -> None:
    """Draw differences with their intervals around a line at 0, and save them in the form that each path ends with.

    rows: (group, name, difference, low, high). Each group has a panel with an axis of its own, three of them side by
    side; the names are drawn top down, once for each row of panels. An interval without 0 is blue, another grey.
    """
    groups, names = list(dict.fromkeys(row[0] for row in rows)), list(dict.fromkeys(row[1] for row in rows))
    across = min(len(groups), ACROSS)
    down = math.ceil(len(groups) / across)
    size = (3 + (5 if across == 1 else 3.2 * across), down * (0.42 * len(names) + 0.7) + 0.5)
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(down, across, sharey=True, squeeze=False).flat
    for axes in panels[len(groups) :]:
        axes.remove()
    for axes, group in zip(panels, groups, strict=False):
        for _, name, value, low, high in (row for row in rows if row[0] == group):
            place, colour = names.index(name), BLUE if low > 0 or high < 0 else GREY
            axes.errorbar(
                value, place, xerr=[[value - low], [high - value]], fmt="o", color=colour, capsize=4, linewidth=1.8
            )
            axes.annotate(
                f"{value:+.1f}", (value, place), textcoords="offset points", xytext=(0, 6), ha="center", fontsize=9
            )
        axes.axvline(0, color="black", linewidth=0.8)
        axes.set_yticks(range(len(names)), names)
        _tidy(axes, len(names), group if len(groups) > 1 else title)
    if len(groups) > 1:
        figure.suptitle(title, fontsize=11)
    for path in paths:
        figure.savefig(path, dpi=150)


def shares_plot(shares: Mapping[str, float], title: str, path: Path) -> None:
    """Draw shares, by name, as bars in percent, the largest first, and save them as PNG."""
    rows = sorted(shares.items(), key=lambda row: -row[1])
    figure = Figure(figsize=(7.5, 0.42 * len(rows) + 1.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    bars = axes.barh(range(len(rows)), [100 * share for _, share in rows], color=BLUE, height=0.6)
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    _tidy(axes, len(rows), title)
    figure.savefig(path, dpi=150)


def _tidy(axes, rows: int, title: str) -> None:
    axes.set_ylim(rows - 0.5, -0.7)
    axes.set_title(title, fontsize=11, loc="left")
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0)
