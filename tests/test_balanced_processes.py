import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

TESTS = Path(__file__).parent


@pytest.mark.slow
def test_two_processes_balance_by_the_same_norms_and_stay_equal(tmp_path):
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    result = subprocess.run(
        [*command, str(TESTS / "balanced_processes.py"), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in (0, 1))
    assert one["norms"] == other["norms"] and one["weights"] == other["weights"]
    assert [batch["terms"] for batch in one["first"]] == [batch["terms"] for batch in other["first"]]
    assert len(one["first"]) == 1 and one["weights"]["relations"] != 0.1
    for name, value in one["state"].items():
        assert torch.equal(value, other["state"][name]), name
