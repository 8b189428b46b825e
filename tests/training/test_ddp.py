import pytest
import torch
from support.launching import in_two_processes
from support.runs_for_tests import small_distiller, small_trainer
from support.two_processes import TERMS
from transformers import AutoModelForSequenceClassification


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two_processes")
    in_two_processes("two_processes.py", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("terms", TERMS)
def test_two_processes_equal_one_on_the_same_global_batch(trained, tmp_path, terms):
    ranks = [torch.load(trained / terms / f"rank{rank}.pt", weights_only=False) for rank in (0, 1)]
    assert ranks[0]["world"] == 2
    one = small_trainer(
        small_distiller(terms=TERMS[terms]),
        tmp_path / "one",
        per_device_train_batch_size=8,
        max_steps=6,
        train_sampling_strategy="group_by_length",
    )
    one.train()
    # projections are in here too: outside the wrapped module their gradients would differ between ranks, silently
    for name, expected in one.model.state_dict().items():
        assert torch.equal(ranks[0]["state"][name], ranks[1]["state"][name]), name
        torch.testing.assert_close(ranks[0]["state"][name], expected, atol=2e-5, rtol=1e-4, msg=name)
    for two, single in zip(ranks[0]["log"][:6], one.state.log_history[:6], strict=True):
        for term in (key for key in single if key.startswith("loss")):
            assert two[term] == pytest.approx(single[term], abs=2e-4), term
    AutoModelForSequenceClassification.from_pretrained(trained / terms)
