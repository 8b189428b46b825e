"""The examples in docstrings are run."""

import doctest
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "kdfeatures"
WITH_EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(".__init__")
    for path in ROOT.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_examples_of(name):
    failed, tried = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
    assert tried > 0 and failed == 0


def test_every_public_loss_has_an_example():
    from kdfeatures import losses

    without = [
        name
        for name in losses.__all__
        if isinstance(getattr(losses, name), type) and ">>> " not in (getattr(losses, name).__doc__ or "")
    ]
    assert without == ["AttentionLoss", "Loss"]  # what others derive from
