"""A whole page around its body, and how texts, data and files become parts of it."""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from kdfeatures.files import harmless

HERE = Path(__file__).parent


def page_html(
    title: str,
    body: str,
    *,
    facts: Mapping[str, str],
    footer: str,
    styles: Sequence[Path] = (),
    scripts: Sequence[Path] = (),
    data: Mapping[str, Any] | None = None,
) -> str:
    """Return a page that loads nothing.

    body: HTML. title, facts, footer: texts; the facts, by name, are shown first. styles, scripts: files that become
    parts of it, behind the styles of all pages. data: what scripts read from the element `data`, as JSON.
    """
    parts = {
        "TITLE": html_text(title),
        "STYLE": "".join(_read(file) for file in (HERE / "shell.css", *styles)),
        "FACTS": "\n".join(f"<dt>{html_text(name)}</dt><dd>{html_text(fact)}</dd>" for name, fact in facts.items()),
        "BODY": body,
        "FOOTER": html_text(footer),
        "DATA": _json(data or {}),
        "SCRIPT": "".join(_read(file) for file in scripts),
    }
    return filled(_read(HERE / "shell.html"), parts)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """Return a template with a part, which is HTML, for every @@NAME@@ in it."""
    # one pass over the template, so that no text of the reader's is taken for a marker
    first, *rest = template.split("@@")
    return first + "".join(parts[part] if at % 2 == 0 else part for at, part in enumerate(rest))


def html_text(value: str) -> str:
    """Return a text as HTML that shows it: no markup, and no sign that a terminal or a parser would act on."""
    return escape(harmless(value))


def link(text: str, target: Path, start: Path) -> str:
    """Return a link to a file or folder as HTML, relative to `start`, the page's folder."""
    path = os.path.relpath(target.absolute(), start.absolute())
    # a colon, which quote() takes too, would make a scheme of the first part
    return f'<a href="{html_text(quote(path.replace(os.sep, "/")))}">{html_text(text)}</a>'


def data_url(picture: bytes) -> str:
    """Return a PNG as a link that holds it."""
    return f"data:image/png;base64,{b64encode(picture).decode()}"


def _json(data: Mapping[str, Any]) -> str:
    # "</script>" in a text would end the data
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8")
