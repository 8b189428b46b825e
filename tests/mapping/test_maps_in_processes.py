import pytest
import torch
from support.launching import in_two_processes
from support.moving import moving_distiller, moving_map
from support.moving_processes import WAYS
from support.runs_for_tests import small_trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_processes")
    in_two_processes("moving_processes.py", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_train_one_student_and_that_of_one_process_but_for_transport(trained, tmp_path, way):
    first, second = (torch.load(trained / way / f"rank{rank}.pt", weights_only=False) for rank in (0, 1))
    assert set(first) == {"random", "attention", "emd"} | ({"learned"} if way == "ddp" else set())
    for rule, found in first.items():
        for name, tensor in found["state"].items():
            assert torch.equal(tensor, second[rule]["state"][name]), name
        if rule == "random":
            assert found["maps"] == second[rule]["maps"]
        if rule == "emd":
            continue  # each process has the plan of its own batch
        trainer = small_trainer(
            moving_distiller(moving_map(rule)),
            tmp_path / "one",
            train_sampling_strategy="group_by_length",
            max_steps=8,
        )
        trainer.train()
        for name, tensor in trainer.model.named_parameters():
            torch.testing.assert_close(found["state"][name], tensor, rtol=1e-3, atol=1e-5, msg=name)
