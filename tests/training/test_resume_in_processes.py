import json

import pytest
from support.launching import in_two_processes


@pytest.mark.slow
def test_two_processes_resume_in_the_second_epoch_to_the_same_weights(tmp_path):
    in_two_processes("resume_in_processes.py", tmp_path)
    differences = json.loads((tmp_path / "differences.json").read_text())
    assert len(differences) == 10
    assert {name: value for name, value in differences.items() if value} == {}
