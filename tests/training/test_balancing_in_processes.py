import pytest
import torch
from support.launching import in_two_processes


@pytest.mark.slow
def test_two_processes_balance_by_the_same_norms_and_stay_equal(tmp_path):
    in_two_processes("balanced_processes.py", tmp_path)
    one, other = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=False) for rank in (0, 1))
    assert one["norms"] == other["norms"] and one["weights"] == other["weights"]
    assert [batch["terms"] for batch in one["first"]] == [batch["terms"] for batch in other["first"]]
    assert len(one["first"]) == 1 and one["weights"]["relations"] != 0.1
    for name, value in one["state"].items():
        assert torch.equal(value, other["state"][name]), name
