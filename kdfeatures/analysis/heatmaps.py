"""Matrices of similarity side by side, on one colour scale that colour-blind readers and greyscale prints keep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

COLOURS = "viridis"
WIDTH = 11.6  # inches; 100 pixels of the page each
NUMBERED = 14  # columns up to which all panels have room for numbers


class Panel(NamedTuple):
    """One matrix (rows, columns), and the cells that are outlined."""

    title: str
    matrix: np.ndarray
    marked: Sequence[tuple[int, int]]


def heat_maps(
    panels: Sequence[Panel], path: Path, *, rows: str, columns: str, start: int, limits: tuple[float, float]
) -> None:
    """Draw the panels side by side and save them as PNG.

    rows, columns: what the axes count, from `start`, the first row on top. limits: values at the ends of the colours.
    """
    height, width = panels[0].matrix.shape
    cell = min((WIDTH - 2.2) / len(panels) / width, 0.6)
    figure = Figure(figsize=(WIDTH, max(cell * height, 1.2) + 1.1), dpi=150, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for number, (subplot, panel) in enumerate(zip(axes, panels, strict=True)):
        image = subplot.imshow(panel.matrix, cmap=COLOURS, vmin=limits[0], vmax=limits[1], aspect="equal")
        subplot.set_title(panel.title, fontsize=12)
        subplot.set_xticks(range(width), range(start, start + width), fontsize=10)
        subplot.set_yticks(range(height), range(start, start + height), fontsize=10)
        subplot.set_xlabel(columns, fontsize=11)
        if number == 0:
            subplot.set_ylabel(rows, fontsize=11)
        subplot.tick_params(length=0)
        for side in subplot.spines.values():
            side.set_visible(False)
        _numbers(subplot, panel.matrix, limits, small=cell < 0.3)
        for row, column in panel.marked:
            for colour, line in (("black", 3.6), ("white", 1.6)):  # one of the two is seen on any colour of the map
                corner = (column - 0.44, row - 0.44)
                subplot.add_patch(Rectangle(corner, 0.88, 0.88, fill=False, edgecolor=colour, linewidth=line))
    bar = figure.colorbar(image, ax=list(axes), shrink=0.8, pad=0.01, aspect=20)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=10)
    canvas.draw()
    drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    # a palette takes a third of the bytes of full colour, and a page holds many of these
    drawn.quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)


def _numbers(axes, matrix: np.ndarray, limits: tuple[float, float], *, small: bool) -> None:
    if matrix.shape[1] > NUMBERED:
        return
    for (row, column), value in np.ndenumerate(matrix):
        light = (value - limits[0]) / (limits[1] - limits[0]) > 0.42  # there black has as much contrast as white
        text = f"{round(value, 2) + 0.0:.2f}".replace("0.", ".", 1)  # adding 0 takes the sign off -0
        axes.text(
            column,
            row,
            text,
            ha="center",
            va="center",
            fontsize=7.5 if small else 9.5,
            color="black" if light else "white",
        )
