"""Small random models that every test may build, and settings that keep tests offline and steady."""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # has to be there before triton is imported
from datasets import disable_progress_bars
from transformers.utils import logging

torch.set_num_threads(1)  # tiny tensors: a second thread costs more than it brings
disable_progress_bars()
logging.set_verbosity_error()


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)
