"""Settings that keep tests offline, made before anything of the libraries is imported; the rest: support/steady.py."""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import shutil
import tempfile
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
if os.environ.get("CUDA_VISIBLE_DEVICES") == "" or not list(Path("/dev").glob("nvidia[0-9]*")):
    os.environ["TRITON_INTERPRET"] = "1"  # kernels run without a GPU; read when triton is imported
if "KDFEATURES_TESTS" not in os.environ:  # else a worker, which shares what the process that started it has made
    os.environ["KDFEATURES_TESTS"] = os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="hf-home-")
    os.environ["KDFEATURES_CACHE"] = f"{os.environ['HF_HOME']}/kdfeatures"
    atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):
        return  # it starts the processes that run tests, which wait for it
    gc.disable()  # imports make millions of objects and no garbage: until all tests are collected
    config.pluginmanager.register(importlib.import_module("support.steady"))
