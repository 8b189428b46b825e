"""Losses and maps are imported by whoever names one: that must stay quick."""

import os
import subprocess
import sys

import pytest

SLOW = ("torch._dynamo", "transformers", "triton")


@pytest.mark.parametrize("package", ["losses", "mapping"])
def test_importing_them_imports_no_compiler_and_no_transformers(package):
    command = f"import sys, kdfeatures.{package}; print([name for name in {SLOW} if name in sys.modules])"
    paths = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, "-c", command],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert done.stdout.strip() == "[]"
