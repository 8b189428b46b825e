import math

import pytest
import torch
from support.references import cross_entropy, regression

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses import (
    DecoupledKD,
    JensenShannon,
    LogitKD,
    LogitMSE,
    PseudoLabel,
    ReverseKL,
    SkewKL,
    SkewReverseKL,
    SoftCrossEntropy,
)

SOFTENED = [LogitKD, SoftCrossEntropy, ReverseKL, JensenShannon, SkewKL, SkewReverseKL, DecoupledKD]


def called(loss, student, teacher):
    return loss(student, teacher, *[torch.zeros(len(student), dtype=torch.long)] * (loss.inputs == "logits, labels"))


def logits(classes, seed, batch=6):
    return torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gradient_size(loss, student, teacher):
    student = student.clone().requires_grad_()
    called(loss, student, teacher).backward()
    return student.grad.norm()


@pytest.mark.parametrize("kind", [loss for loss in SOFTENED if loss is not SoftCrossEntropy])
def test_temperature_squared_keeps_the_size_of_the_gradient(kind):
    student, teacher = logits(3, 1), logits(3, 2)
    for kept, shrinking in [(10, 20), (20, 40)]:
        small, large = (gradient_size(kind(temperature=t), student, teacher) for t in (kept, shrinking))
        assert large / small == pytest.approx(1, abs=0.1)


def test_without_temperature_squared_the_gradient_shrinks():
    student, teacher = logits(3, 1), logits(3, 2)
    small, large = (gradient_size(SoftCrossEntropy(temperature=t), student, teacher) for t in (20, 40))
    assert large / small == pytest.approx(1 / 4, abs=0.025)


def test_soft_cross_entropy_is_kd_without_t_squared_plus_the_entropy_of_the_teacher():
    student, teacher = logits(3, 1), logits(3, 2)
    entropy = torch.distributions.Categorical(logits=teacher / 2).entropy().mean()
    expected = LogitKD(temperature=2)(student, teacher) / 4 + entropy
    torch.testing.assert_close(SoftCrossEntropy(temperature=2)(student, teacher), expected)


def test_logit_mse_is_twice_the_high_temperature_limit_of_kd_on_centred_logits():
    student, teacher = (x - x.mean(1, keepdim=True) for x in (logits(4, 1), logits(4, 2)))
    limit = LogitKD(temperature=1e4)(student, teacher)
    torch.testing.assert_close(LogitMSE()(student, teacher), 2 * limit, rtol=1e-3, atol=0)


def test_pseudo_labels_are_the_teachers_first_choice():
    student, teacher = logits(3, 1).requires_grad_(), logits(3, 2)
    value, expected = PseudoLabel()(student, teacher), cross_entropy(student, teacher.max(1).indices.tolist())
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, student), torch.autograd.grad(expected, student))
    assert torch.autograd.gradcheck(PseudoLabel(), (student, teacher))


def test_pseudo_labels_ignore_how_sure_the_teacher_is():
    student, teacher = logits(3, 1), logits(3, 2)
    assert PseudoLabel()(student, teacher) == PseudoLabel()(student, 9 * teacher + 4)


def test_the_pseudo_label_of_a_regression_is_the_teachers_score():
    student, teacher = logits(1, 1).requires_grad_(), logits(1, 2)
    value, expected = PseudoLabel()(student, teacher), regression(student, teacher[:, 0])
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, student), torch.autograd.grad(expected, student))


def test_pseudo_labels_of_half_precision_logits_give_float32():
    for classes in (1, 3):
        value = PseudoLabel()(logits(classes, 1).bfloat16(), logits(classes, 2).bfloat16())
        assert value.dtype == torch.float32


@pytest.mark.parametrize("loss", SOFTENED)
@pytest.mark.parametrize("temperature", [0, -2.0, math.nan, math.inf])
def test_a_temperature_that_is_not_positive_is_refused(loss, temperature):
    with pytest.raises(ConfigError, match=f"^temperature={temperature} must be a finite number above 0; 1 is neutral"):
        loss(temperature=temperature)


@pytest.mark.parametrize("loss", SOFTENED)
def test_softened_losses_send_a_regression_to_logit_mse(loss):
    with pytest.raises(UserError, match=f"{loss.__name__} compares class.*1 output .regression.; use LogitMSE"):
        called(loss(temperature=1), logits(1, 1), logits(1, 2))


@pytest.mark.parametrize("loss", [*(loss(temperature=1) for loss in SOFTENED), LogitMSE(), PseudoLabel()], ids=repr)
def test_other_shapes_are_refused(loss):
    with pytest.raises(UserError, match=r"student gives \(6, 3\) and the teacher \(6, 2\)"):
        called(loss, logits(3, 1), logits(2, 2))
    with pytest.raises(UserError, match=type(loss).__name__):
        called(loss, logits(1, 1)[:, 0], logits(1, 2)[:, 0])
