"""The Python that a page of docs/ shows."""

from __future__ import annotations

import re
from pathlib import Path


def python_blocks(page: Path, heading: str | None = None) -> list[str]:
    """Return the blocks of Python of a page, or of what stands under one of its headings `## ...`."""
    text = page.read_text(encoding="utf-8")
    if heading is not None:
        _, found, text = text.partition(f"\n## {heading}\n")
        assert found, f"{page.name} has no heading '{heading}'"
        text = text.partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def headings(page: Path) -> list[str]:
    """Return the headings `## ...` of a page."""
    return re.findall(r"^## (.*)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
