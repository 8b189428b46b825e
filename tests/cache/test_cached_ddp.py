import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs_for_tests import small_distiller, small_trainer

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
def test_two_processes_on_a_shared_cache_equal_one_with_the_live_teacher(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=0", "--standalone"]
    result = subprocess.run(
        [*command, str(TESTS / "two_cached_processes.py"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    assert result.stdout.count("Teacher cache") <= 1  # said by the first rank, not by every one
    ranks = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)]
    assert ranks[0]["world"] == 2
    settings = {"per_device_train_batch_size": 8, "max_steps": 6, "train_sampling_strategy": "group_by_length"}
    one = small_trainer(small_distiller(), tmp_path / "one", **settings)
    one.train()
    for name, expected in one.model.state_dict().items():
        assert torch.equal(ranks[0]["state"][name], ranks[1]["state"][name]), name
        torch.testing.assert_close(ranks[0]["state"][name], expected, atol=2e-5, rtol=1e-4, msg=name)
