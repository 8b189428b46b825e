"""Matrices of similarity side by side, on one colour scale that colour-blind readers and greyscale prints keep."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

COLOURS = "viridis"
WIDTH = 11.6  # inches; 100 pixels of the page each
NUMBERED = 14  # columns up to which all panels have room for numbers
DARK, LIGHT = (
    np.array([0x15, 0x18, 0x1B]),
    np.array([0xE4, 0xE6, 0xE8]),
)  # ground and ink of dark pages, pages/shell.css


class Panel(NamedTuple):
    """One matrix (rows, columns), and the cells that are outlined."""

    title: str
    matrix: np.ndarray
    marked: Sequence[tuple[int, int]]


def heat_maps(
    panels: Sequence[Panel], path: Path, *, rows: str, columns: str, start: int, limits: tuple[float, float]
) -> bytes:
    """Draw the panels side by side and save them as PNG; return one for dark pages, of the same matrices.

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
    drawn = np.asarray(canvas.buffer_rgba())[..., :3]
    path.write_bytes(_png(drawn))
    return _png(_darkened(drawn, [*axes, bar.ax]))


def _darkened(drawn: np.ndarray, axes: Sequence[Axes]) -> np.ndarray:
    """Return a picture (height, width, 3) with white as DARK and black as LIGHT, but for what lies inside the axes."""
    shade = np.arange(3 * 255 + 1)[:, None] / 3 / 255  # by the sum of the three colours
    dark = (shade * DARK + (1 - shade) * LIGHT).round().astype(np.uint8)[drawn.sum(-1, dtype=np.uint16)]
    height = len(drawn)
    for part in axes:
        left, bottom, right, top = (round(value) for value in part.get_window_extent().extents)
        dark[height - top : height - bottom, left:right] = drawn[height - top : height - bottom, left:right]
    return dark


def _png(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    # a palette takes a third of the bytes of full colour, and a page holds many of these
    few = Image.fromarray(picture).quantize(256, Image.Quantize.MAXCOVERAGE)
    palette, ground = few.getpalette() or [], int(np.asarray(few)[0, 0])
    palette[3 * ground : 3 * ground + 3] = picture[0, 0].tolist()  # no edge is seen where the picture ends
    few.putpalette(palette)
    few.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


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
