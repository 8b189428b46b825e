"""Smaller generated tasks, for grids of runs that are scored on a whole split or a share of the training one."""

from __future__ import annotations

import pytest
from datasets import DatasetDict

from kdfeatures.data import synthetic

SIZES = {"train": 2_000, "validation": 250, "test": 250}


@pytest.fixture(scope="module", autouse=True)
def smaller_tasks():
    """Cut each split to its first examples."""
    load = synthetic.load

    def cut(*args, **options):
        return DatasetDict({name: rows.select(range(SIZES[name])) for name, rows in load(*args, **options).items()})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "load", cut)
        yield
