import pytest
import torch
from safetensors.torch import load_file
from support.launching import in_two_processes
from support.mixed_processes import WAYS, mixed_trainer

from kdfeatures.distillation import Mixup


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed_processes")
    in_two_processes("mixed_processes.py", folder)
    return folder


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One process that takes the batches of both, one after the other, before each step."""
    draw = Mixup.draw
    folder = tmp_path_factory.mktemp("alone")
    try:
        trainer = mixed_trainer(folder, gradient_accumulation_steps=2)
        trainer.train()
    finally:
        Mixup.draw = draw
    trainer.save_model()
    return load_file(folder / "model.safetensors"), trainer.state.log_history


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_two_processes_make_the_student_of_one_with_the_same_pairs(trained, alone, way):
    weights, log = alone
    saved = load_file(trained / way / "model.safetensors")
    assert saved.keys() == weights.keys()
    for name, expected in weights.items():
        torch.testing.assert_close(saved[name], expected, atol=2e-5, rtol=1e-4, msg=name)
    for two, one in zip(torch.load(trained / way / "log0.pt")[:4], log[:4], strict=True):
        assert two["loss/consistency"] == pytest.approx(one["loss/consistency"], abs=2e-4)
    assert log[3]["loss/consistency"] > 0
