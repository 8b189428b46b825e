"""docs/reference.md is what the docstrings say now, and holds every public name."""

import importlib.util

from support.shared_data import ROOT

import kdfeatures as kd

PAGE = ROOT / "docs" / "reference.md"


def generator():
    spec = importlib.util.spec_from_file_location("build_reference", ROOT / "docs" / "build_reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_is_what_the_docstrings_say():
    assert PAGE.read_text(encoding="utf-8") == generator().reference(), "docs/reference.md is old: run `make reference`"


def test_every_public_name_has_an_entry():
    text = PAGE.read_text(encoding="utf-8")
    names = [f"kd.{name}" for name in kd.__all__ if name not in ("__version__", "losses", "mapping")]
    names += [f"kd.{package}.{name}" for package in ("losses", "mapping") for name in getattr(kd, package).__all__]
    assert [name for name in names if f"\n### {name}\n" not in text] == []


def test_sections_become_lists_and_examples_code():
    doc = "Do it.\n\nArgs:\n    x: what `a*b` is,\n        and more.\n\nx: again.\n\n    f(x=1)\n\nExample:\n    >>> 1"
    assert generator().markdown(doc, ("x",)) == (
        "Do it.\n\n**Args**\n\n- `x`: what `a*b` is,\n  and more.\n\n- `x`: again.\n\n"
        "```python\nf(x=1)\n```\n\n**Example**\n\n```python\n>>> 1\n```\n"
    )
