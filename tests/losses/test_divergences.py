import math

import pytest
import torch

from kdfeatures.errors import ConfigError
from kdfeatures.losses import JensenShannon, LogitKD, ReverseKL, SkewKL, SkewReverseKL

SKEWED = [SkewKL, SkewReverseKL]
BOUNDED = [SkewKL(temperature=2.0, skew=0.1), SkewReverseKL(temperature=2.0, skew=0.1)]


def logits(seed, classes=3, batch=6):
    return torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def opposed():
    return torch.tensor([[900.0, 0.0, 0.0]]), torch.tensor([[0.0, 900.0, 0.0]])


def test_reverse_kl_is_hintons_with_the_sides_exchanged():
    student, teacher = logits(1), logits(2)
    for temperature in (0.5, 3.0):
        swapped = LogitKD(temperature=temperature)(teacher, student)
        torch.testing.assert_close(ReverseKL(temperature=temperature)(student, teacher), swapped)


@pytest.mark.parametrize(("skewed", "limit"), [(SkewKL, LogitKD), (SkewReverseKL, ReverseKL)])
def test_without_skew_the_divergences_of_distillm_are_the_plain_ones(skewed, limit):
    value = skewed(temperature=2.0, skew=1e-9)(logits(1), logits(2))
    torch.testing.assert_close(value, limit(temperature=2.0)(logits(1), logits(2)), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("beta", "limit"), [(1e-7, LogitKD), (1 - 1e-7, ReverseKL)])
def test_jensen_shannon_lies_between_both_directions(beta, limit):
    value = JensenShannon(temperature=2.0, beta=beta)(logits(1), logits(2)) / min(beta, 1 - beta)
    torch.testing.assert_close(value, limit(temperature=2.0)(logits(1), logits(2)), rtol=1e-5, atol=0)


def test_the_symmetric_jensen_shannon_is_symmetric_and_at_most_t_squared_ln_2():
    loss = JensenShannon(temperature=2.0, beta=0.5)
    torch.testing.assert_close(loss(logits(1), logits(2)), loss(logits(2), logits(1)))
    assert loss(*opposed()).item() == pytest.approx(4 * math.log(2))


@pytest.mark.parametrize("loss", BOUNDED, ids=repr)
def test_skewed_divergences_of_distributions_without_overlap_are_t_squared_ln_of_one_over_skew(loss):
    assert loss(*opposed()).item() == pytest.approx(4 * math.log(10))


@pytest.mark.parametrize("loss", [*BOUNDED, JensenShannon(temperature=2.0, beta=0.9)], ids=repr)
def test_logits_as_large_as_models_give_them_leave_value_and_gradient_finite(loss):
    student, teacher = opposed()
    value = loss(student.requires_grad_(), teacher)
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all()


@pytest.mark.parametrize("loss", SKEWED)
@pytest.mark.parametrize("skew", [0, 1, -0.1, math.nan])
def test_a_skew_that_is_no_share_is_refused(loss, skew):
    with pytest.raises(ConfigError, match=f"^skew={skew} must be above 0 and below 1; DistiLLM has 0.1"):
        loss(temperature=1.0, skew=skew)


@pytest.mark.parametrize("beta", [0.0, 1.0, math.nan])
def test_a_mixture_of_one_side_is_refused(beta):
    with pytest.raises(ConfigError, match=f"^beta={beta} must be above 0 and below 1; 0.5 is the symmetric one"):
        JensenShannon(temperature=1.0, beta=beta)


def test_the_mixture_of_jensen_shannon_holds_a_share_beta_of_the_teacher():
    student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    mixed = (0.275, 0.725)  # 0.9 of the teacher, 0.1 of the student
    of_teacher = 0.25 * math.log(0.25 / mixed[0]) + 0.75 * math.log(0.75 / mixed[1])
    of_student = 0.5 * math.log(0.5 / mixed[0]) + 0.5 * math.log(0.5 / mixed[1])
    value = JensenShannon(beta=0.9)(student.double(), teacher.double())
    assert value.item() == pytest.approx(0.9 * of_teacher + 0.1 * of_student)
