import pytest
import torch

from kdfeatures.losses import DecoupledKD, LogitKD, LogitMSE, PseudoLabel, SoftCrossEntropy
from kdfeatures.losses.ensemble import averaged

SHARES = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)


def logits(classes=4, teachers=3, batch=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(teachers, batch, classes, generator=generator, dtype=torch.float64)


def mixture(stacked, temperature):
    weights = torch.exp(stacked / temperature)
    return sum(a * p for a, p in zip(SHARES, weights / weights.sum(-1, keepdim=True), strict=True))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_softmax_is_the_average_of_the_distributions(temperature):
    stacked = logits()
    found = averaged(stacked, SHARES, temperature)
    torch.testing.assert_close((found / temperature).softmax(-1), mixture(stacked, temperature))


def test_the_average_depends_on_the_temperature_and_is_not_that_of_the_logits():
    stacked = logits()
    at_one, at_four = (averaged(stacked, SHARES, temperature).softmax(-1) for temperature in (1.0, 4.0))
    assert not torch.allclose(at_one, at_four, atol=1e-2)
    assert not torch.allclose(at_one, averaged(stacked, SHARES, None).softmax(-1), atol=1e-2)


def test_raw_outputs_and_scores_are_averaged_as_they_are():
    for stacked, temperature in ((logits(), None), (logits(classes=1), 2.0)):
        expected = sum(a * z for a, z in zip(SHARES, stacked, strict=True))
        torch.testing.assert_close(averaged(stacked, SHARES, temperature), expected)


def test_one_teacher_and_equal_teachers_give_the_distribution_they_have():
    single = logits(teachers=1)
    for stacked, shares in ((single, SHARES[:1] / SHARES[0]), (single.expand(3, -1, -1), SHARES)):
        torch.testing.assert_close((averaged(stacked, shares, 2.0) / 2).softmax(-1), (single[0] / 2).softmax(-1))


def test_certain_teachers_and_half_precision_stay_finite():
    certain = torch.tensor([[[0.0, -1e3]], [[-1e3, 0.0]]])
    found = averaged(certain, torch.tensor([0.5, 0.5]), 4.0)
    torch.testing.assert_close((found / 4).softmax(-1), torch.tensor([[0.5, 0.5]]))
    assert averaged(certain.bfloat16(), torch.tensor([0.5, 0.5]), 4.0).dtype == torch.float32


@pytest.mark.parametrize("loss", [LogitKD(temperature=2.0), SoftCrossEntropy(temperature=2.0)])
def test_a_softened_loss_of_the_average_is_that_of_the_mixture(loss):
    stacked, student = logits(), logits(seed=1)[0].requires_grad_()
    value = loss(student, averaged(stacked, SHARES, loss.target_temperature))
    p = mixture(stacked, 2.0)
    expected = -(p * (student / 2).log_softmax(-1)).sum(-1).mean()
    if isinstance(loss, LogitKD):
        expected = 4 * (expected + (p * p.log()).sum(-1).mean())
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(*(torch.autograd.grad(x, student)[0] for x in (value, expected)))


def test_the_gradient_of_the_soft_cross_entropy_is_the_average_of_those_for_each_teacher():
    stacked, student = logits(), logits(seed=1)[0].requires_grad_()
    loss = SoftCrossEntropy(temperature=2.0)
    joint = torch.autograd.grad(loss(student, averaged(stacked, SHARES, 2.0)), student)[0]
    each = [torch.autograd.grad(loss(student, one), student)[0] for one in stacked]
    torch.testing.assert_close(joint, sum(a * g for a, g in zip(SHARES, each, strict=True)))


def test_the_squared_error_to_the_average_differs_from_the_average_error_by_a_constant():
    stacked, loss = logits(), LogitMSE()
    gaps = []
    for seed in (1, 2):
        student = logits(seed=seed)[0]
        each = sum(a * loss(student, one) for a, one in zip(SHARES, stacked, strict=True))
        gaps.append(each - loss(student, averaged(stacked, SHARES, loss.target_temperature)))
    torch.testing.assert_close(*gaps)


def test_the_pseudo_label_is_the_class_of_the_largest_average_probability():
    # two teachers lean to class 1, one is sure of class 0
    stacked = torch.tensor([[[9.0, 0.0]], [[0.0, 0.2]], [[0.0, 0.2]]], dtype=torch.float64)
    shares = torch.full((3,), 1 / 3, dtype=torch.float64)
    target = averaged(stacked, shares, PseudoLabel().target_temperature)
    assert target.argmax(-1).item() == 0
    assert (stacked.argmax(-1) == 1).sum() == 2


def test_decoupled_kd_splits_the_averaged_distribution():
    stacked, student = logits(), logits(seed=1)[0]
    loss = DecoupledKD(temperature=2.0, target_weight=1.0, other_weight=0.5)
    labels = torch.tensor([0, 1, 2, 3, -100])
    as_one_teacher = 2 * mixture(stacked, 2.0).log()
    found = loss(student, averaged(stacked, SHARES, loss.target_temperature), labels)
    torch.testing.assert_close(found, loss(student, as_one_teacher, labels))
