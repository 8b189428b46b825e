import pytest
import torch
from support.launching import in_two_processes
from support.runs_for_tests import plain_trainer, small_distiller, small_trainer
from support.two_processes import PLAIN, TERMS
from transformers import AutoModelForSequenceClassification

from kdfeatures.losses import HardLabel


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


@pytest.mark.slow
@pytest.mark.parametrize("name", PLAIN)
def test_a_classifier_of_two_processes_is_that_of_one(trained, tmp_path, name):
    two = torch.load(trained / name / "rank0.pt", weights_only=False)
    loss = None if PLAIN[name] is None else HardLabel(class_weights=PLAIN[name])
    one = plain_trainer(tmp_path, loss=loss, per_device_train_batch_size=8, per_device_eval_batch_size=16)
    one.train()
    for parameter, expected in one.model.state_dict().items():
        torch.testing.assert_close(two["state"][parameter], expected, atol=1e-6, rtol=1e-4, msg=parameter)
    for its, single in zip(two["log"][:2], one.state.log_history[:2], strict=True):
        assert its["loss"] == pytest.approx(single["loss"], abs=2e-4)
    assert two["eval"]["eval_loss"] == pytest.approx(one.evaluate()["eval_loss"], rel=1e-5)
