"""Folders of a tiny classifier and its tokenizer, to be changed as people's folders are."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.tiny import tiny_classifier

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError


def save_classifier(folder: Path, family: str = "bert") -> Path:
    """Save a tiny classifier with the generated tasks' tokenizer, and return the folder."""
    tiny_classifier(family).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def edit_json(file: Path, **changed: Any) -> None:
    """Change entries of a JSON file; None takes one out."""
    entries = json.loads(file.read_text()) | changed
    file.write_text(json.dumps({key: value for key, value in entries.items() if value is not None}))


def refused_line(call: Callable[..., Any], *args: Any, **options: Any) -> str:
    """Return the one line of the UserError that a call raises."""
    with pytest.raises(UserError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    return str(caught.value)
