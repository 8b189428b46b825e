"""Encoded examples: which columns a model takes, how long they are; and no progress bars for what takes no time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyarrow.compute
import torch
from datasets import Dataset, are_progress_bars_disabled, disable_progress_bars, enable_progress_bars
from transformers import PreTrainedTokenizerBase


def model_inputs(dataset: Dataset, tokenizer: PreTrainedTokenizerBase) -> Dataset:
    """Return an encoded split with the columns that a model takes, and no others."""
    return dataset.select_columns([name for name in dataset.column_names if name in tokenizer.model_input_names])


def token_counts(dataset: Dataset) -> torch.Tensor:
    """Return the number of tokens of every encoded example, without making Python lists of them."""
    column = dataset.with_format("arrow")["input_ids"][:]
    return torch.tensor(pyarrow.compute.list_value_length(column).to_numpy(), dtype=torch.long)


def longest_first(dataset: Dataset) -> np.ndarray:
    """Return the rows of an encoded split by falling length, (examples,): batches of them hold little padding."""
    return np.argsort(token_counts(dataset).numpy(), kind="stable")[::-1]


@contextmanager
def no_progress_bars(when: bool = True) -> Iterator[None]:
    """Switch off the bars of `datasets` inside the block if `when`, and leave them as they were."""
    if not when or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()
