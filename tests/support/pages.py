"""The Python, and the commands, that a page of docs/ shows."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

HERE_DOCUMENT = re.compile(r"^cat > (\S+) <<'(?:CSV)'\n(.*?)^CSV\n", re.MULTILINE | re.DOTALL)


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


def shell_commands(page: Path) -> list[list[str]]:
    """Return the words of each command in blocks of shell, without the files that a block writes."""
    found = []
    for block in _shell(page):
        for line in HERE_DOCUMENT.sub("", block).replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                found.append(words)
    return found


def written_files(page: Path) -> dict[str, str]:
    """Return {name: text} of the files that blocks of shell write (`cat > NAME <<'CSV'`)."""
    return {found[1]: found[2] for block in _shell(page) for found in HERE_DOCUMENT.finditer(block)}


def _shell(page: Path) -> list[str]:
    return re.findall(r"```bash\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
