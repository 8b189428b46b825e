"""Losses and maps are imported by whoever names one: that must stay quick."""

import pytest
from support.imports import loaded_after

SLOW = ("torch._dynamo", "transformers", "triton")


@pytest.mark.parametrize("package", ["losses", "mapping"])
def test_importing_them_imports_no_compiler_and_no_transformers(package):
    assert [name for name in SLOW if name in loaded_after()[f"kdfeatures.{package}"]] == []
