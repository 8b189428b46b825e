"""What mkdocs does besides: the files at the top of the repository are pages of the site, README.md its first one.

Links stay as they are in the repository, where they work, too; here they are turned to the places in the site.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
}  # fmt: skip
OTHERS = ("LICENSE", "CITATION.cff")
LINK = re.compile(r"(\]\()([^)\s]+)(\))")


def on_files(files: Files, config: Any) -> Files:
    """Add the files from the top of the repository."""
    for name, page in PAGES.items():
        text = LINK.sub(lambda link: link[1] + _from_the_top(link[2]) + link[3], (ROOT / name).read_text("utf-8"))
        files.append(File.generated(config, page, content=text))
    for name in OTHERS:
        files.append(File.generated(config, f"{name}.txt", content=(ROOT / name).read_text("utf-8")))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Turn a page's links to the top of the repository."""
    up = "../" * (page.file.src_uri.count("/") + 1)
    return LINK.sub(
        lambda link: (
            link[1] + up[3:] + _from_the_top(link[2].removeprefix(up)) + link[3] if link[2].startswith(up) else link[0]
        ),
        markdown,
    )


def _from_the_top(target: str) -> str:
    """Return where a link leads that starts from the top of the repository."""
    path, mark, heading = target.partition("#")
    if path in OTHERS:
        return f"{path}.txt"
    return PAGES.get(path, path.removeprefix("docs/")) + mark + heading
