import pytest
import torch
from support.launching import in_two_processes
from support.runs_for_tests import small_distiller, small_trainer


@pytest.mark.slow
def test_two_processes_on_a_shared_cache_equal_one_with_the_live_teacher(tmp_path):
    output = in_two_processes("two_cached_processes.py", tmp_path)
    assert output.count("Teacher cache") <= 1  # said by the first rank, not by every one
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)]
    assert ranks[0]["world"] == 2
    settings = {"per_device_train_batch_size": 8, "max_steps": 6, "train_sampling_strategy": "group_by_length"}
    one = small_trainer(small_distiller(), tmp_path / "one", **settings)
    one.train()
    for name, expected in one.model.state_dict().items():
        assert torch.equal(ranks[0]["state"][name], ranks[1]["state"][name]), name
        torch.testing.assert_close(ranks[0]["state"][name], expected, atol=2e-5, rtol=1e-4, msg=name)
