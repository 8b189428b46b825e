"""What is the same for every test, and what is made once for all: a plugin of pytest, for processes that run tests."""

from __future__ import annotations

import functools
import gc

import pytest
import torch
from accelerate.utils import imports
from datasets import disable_progress_bars
from support.composing import share_compositions
from transformers.utils import logging

from kdfeatures.data import synthetic as embedded

torch.set_num_threads(1)  # tiny tensors: a second thread costs more than it brings
disable_progress_bars()
logging.set_verbosity_error()


@pytest.fixture(autouse=True)
def _seeded():
    # what torch.manual_seed does, but for a note of the call's stack for each kind of device that is not there
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(0)


@pytest.fixture(scope="session", autouse=True)
def _generated_once():
    """Let commands share the generated tasks: each is the same whenever it is made, which takes a second."""
    with pytest.MonkeyPatch.context() as shared:
        shared.setattr(embedded, "load", functools.cache(embedded.load))
        yield


@pytest.fixture(scope="session", autouse=True)
def _packages_looked_for_once():
    """Let accelerate look for each optional package once, not in every step."""
    with pytest.MonkeyPatch.context() as shared:
        shared.setattr(imports, "_is_package_available", functools.cache(imports._is_package_available))
        yield


@pytest.fixture(scope="session", autouse=True)
def _composed_once():
    with pytest.MonkeyPatch.context() as shared:
        share_compositions(shared)
        yield


def pytest_collection_finish():
    gc.enable()
    # Trainer calls gc.collect(), which takes a quarter of a second over the objects of the imported libraries
    gc.freeze()


def pytest_unconfigure():
    gc.unfreeze()  # or triton reports what was frozen as leaked when Python ends
