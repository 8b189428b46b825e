"""Text files that appear at once: a reader sees the old one or the new one, never half of it."""

from __future__ import annotations

import uuid
from pathlib import Path


def write_whole(file: Path, text: str) -> None:
    """Write a line or several to `file`, and a line end behind them; several processes may write the same file."""
    unfinished = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
    unfinished.write_text(text + "\n", encoding="utf-8")
    unfinished.replace(file)
