"""Tables that scroll in a box of their own where they are wider than the page, and that can be sorted."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kdfeatures.pages.shell import html_text

SCRIPT = Path(__file__).with_name("tables.js")
STYLE = Path(__file__).with_name("tables.css")


@dataclass(frozen=True)
class Cell:
    """What a cell shows, the number that it is sorted by (None: its text), and HTML behind the text, such as links."""

    text: str
    number: float | None = None
    more: str = ""


def table_html(rows: Sequence[Mapping[str, str | Cell]], *, caption: str, words: int = 1, sortable: bool = True) -> str:
    """Return a table of rows with equal keys. words: how many columns, from the left, are words and not numbers.

    A number that is given as text is sorted by the number that the text begins with.
    """
    names = list(rows[0])
    head = "".join(
        _heading(name, is_words=at < words, sortable=sortable and any(_is_sorted_by(row[name]) for row in rows))
        for at, name in enumerate(names)
    )
    body = "\n".join(_row(list(row.values()), words) for row in rows)
    kind, about = ' class="sortable"' if sortable else "", html_text(caption)
    return (
        f'<p class="caption">{about}</p>\n<div class="scroll"><table{kind} aria-label="{about}">\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>"
    )


def _heading(name: str, *, is_words: bool, sortable: bool) -> str:
    kind = ' class="name"' if is_words else ""
    shown = f'<button type="button">{html_text(name)}</button>' if sortable else html_text(name)
    return f'<th scope="col"{kind}>{shown}</th>'


def _is_sorted_by(cell: str | Cell) -> bool:
    return bool(cell) if isinstance(cell, str) else bool(cell.text) or cell.number is not None


def _row(cells: Sequence[str | Cell], words: int) -> str:
    first, *others = (
        cell if isinstance(cell, Cell) else Cell(cell, None if at < words else _leading(cell))
        for at, cell in enumerate(cells)
    )
    kinds = (' class="name"' if at < words else "" for at in range(1, len(cells)))
    data = "".join(
        f"<td{kind}{_number(cell)}>{html_text(cell.text)}{cell.more}</td>"
        for kind, cell in zip(kinds, others, strict=True)
    )
    return f'<tr><th scope="row"{_number(first)}>{html_text(first.text)}{first.more}</th>{data}</tr>'


def _leading(text: str) -> float | None:
    number = re.match(r"[+-]?\d+(\.\d+)?", text)
    return None if number is None else float(number[0])


def _number(cell: Cell) -> str:
    return "" if cell.number is None or not math.isfinite(cell.number) else f' data-number="{cell.number!r}"'
