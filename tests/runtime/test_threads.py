"""How many threads a training takes."""

import torch

from kdfeatures.runtime.threads import SMALL_STEP, threads_for, torch_threads


def test_threads_are_as_they_were_afterwards():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with torch_threads(None):
        assert torch.get_num_threads() == before


def test_only_small_steps_take_one_thread():
    assert threads_for(SMALL_STEP - 1) == 1
    assert threads_for(SMALL_STEP) is None
    assert threads_for(float("inf")) is None
