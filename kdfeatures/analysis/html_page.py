"""The page itself: measurements into one HTML file that needs no other file and no network."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib

from kdfeatures.analysis.heatmaps import COLOURS
from kdfeatures.files import harmless

HERE = Path(__file__).parent


def write_page(
    path: Path,
    *,
    title: str,
    facts: Mapping[str, str],
    layers: tuple[Path, str],
    summary: Sequence[Mapping[str, str]],
    data: Mapping[str, Any],
    footer: str,
) -> None:
    """Write the page.

    facts: what was compared, shown first. layers: the picture of all layers and its description. summary: the rows of
    a table; the first two columns are words. data: what kdfeatures/inspection/page.js reads, without the colours.
    """
    picture, described = layers
    palette = "".join(matplotlib.colors.to_hex(colour)[1:] for colour in matplotlib.colormaps[COLOURS](range(256)))
    # "</script>" in a text would end the data
    encoded = json.dumps({**data, "palette": palette}, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    parts = {
        "TITLE": _text(title),
        "STYLE": _read("page.css"),
        "FACTS": "\n".join(f"<dt>{_text(name)}</dt><dd>{_text(fact)}</dd>" for name, fact in facts.items()),
        "LAYERS_PNG": data_url(picture),
        "LAYERS_ALT": _text(described),
        "SUMMARY_HEAD": _head(list(summary[0])),
        "SUMMARY": "\n".join(_row(list(row.values())) for row in summary),
        "FOOTER": _text(footer),
        "SCRIPT": _read("page.js"),
        "DATA": encoded,
    }
    # one pass over the template, so that no text of the reader's is taken for a marker
    first, *rest = _read("page.html").split("@@")
    path.write_text(first + "".join(parts[part] if at % 2 == 0 else part for at, part in enumerate(rest)), "utf-8")


def data_url(picture: Path) -> str:
    """Return a PNG as a link that holds it."""
    return f"data:image/png;base64,{b64encode(picture.read_bytes()).decode()}"


def _head(names: Sequence[str]) -> str:
    words = "".join(f'<th scope="col" class="name">{_text(name)}</th>' for name in names[:2])
    return words + "".join(f'<th scope="col">{_text(name)}</th>' for name in names[2:])


def _row(cells: Sequence[str]) -> str:
    words = "".join(f'<td class="name">{_text(cell)}</td>' for cell in cells[1:2])
    numbers = "".join(f"<td>{_text(cell)}</td>" for cell in cells[2:])
    return f'<tr><th scope="row">{_text(cells[0])}</th>{words}{numbers}</tr>'


def _text(value: str) -> str:
    """Return a text as HTML that shows it: no markup, and no sign that a terminal or a parser would act on."""
    return escape(harmless(value))


def _read(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8")
