"""A teacher, examples and a cache folder."""

from __future__ import annotations

import pytest
from support.caching import small_cache
from support.runs_for_tests import small_dataset, small_distiller

from kdfeatures.cli.spoken import spoken


@pytest.fixture(autouse=True)
def _said_aloud():
    """Print what the package logs, as the commands do."""
    with spoken():
        yield


@pytest.fixture
def distiller():
    return small_distiller()


@pytest.fixture
def examples():
    return small_dataset()


@pytest.fixture
def cache(tmp_path, distiller):
    return small_cache(tmp_path, distiller.teacher)
