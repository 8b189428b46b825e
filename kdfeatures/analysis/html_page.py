"""The page itself: measurements into one HTML file that needs no other file and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib

from kdfeatures.analysis.heatmaps import COLOURS
from kdfeatures.files import write_whole
from kdfeatures.pages.shell import data_url, filled, html_text, page_html
from kdfeatures.pages.tables import table_html

HERE = Path(__file__).parent
SUMMARY = (
    "Mean similarity of matched heads; of the same heads when the teacher reads other texts; and of any two heads, as "
    "a random matching would have it on average."
)


class Picture(NamedTuple):
    """A picture for light and for dark pages, as links that hold it, and its description."""

    light: str
    dark: str
    alt: str

    @classmethod
    def of(cls, light: bytes, dark: bytes, alt: str) -> Picture:
        return cls(data_url(light), data_url(dark), alt)


def write_page(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    layers: Picture,
    summary: Sequence[Mapping[str, str]],
    data: Mapping[str, Any],
    footer: str,
) -> None:
    """Write the page.

    facts: what was compared, shown first. layers: the picture of all layers. summary: the rows of a table; the first
    two columns are words. data: what page.js beside this file reads, without the colours.
    """
    palette = "".join(matplotlib.colors.to_hex(colour)[1:] for colour in matplotlib.colormaps[COLOURS](range(256)))
    parts = {
        "LAYERS_LIGHT": layers.light,
        "LAYERS_DARK": layers.dark,
        "LAYERS_ALT": html_text(layers.alt),
        "SUMMARY": table_html(summary, caption=SUMMARY, words=2, sortable=False),
    }
    text = page_html(
        title,
        filled((HERE / "page.html").read_text(encoding="utf-8"), parts),
        facts=facts,
        footer=footer,
        styles=[HERE / "page.css"],
        scripts=[HERE / "page.js"],
        data={**data, "palette": palette},
    )
    write_whole(path, text)
