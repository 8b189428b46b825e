import pytest
import torch
from support.references import cross_entropy, regression

from kdfeatures.errors import UserError
from kdfeatures.losses import HardLabel

NAN = float("nan")
CLASSES = torch.tensor([2, -100, 0, 1])
SCORES = torch.tensor([0.5, 4.8, NAN, 2.0])


def logits(classes):
    random = torch.Generator().manual_seed(0)
    return torch.randn(4, classes, generator=random, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize(("classes", "labels", "oracle"), [(3, CLASSES, cross_entropy), (1, SCORES, regression)])
def test_value_and_gradient_equal_the_oracle(classes, labels, oracle):
    student = logits(classes)
    value, expected = HardLabel()(student, labels), oracle(student, labels)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, student), torch.autograd.grad(expected, student))
    assert torch.autograd.gradcheck(lambda x: HardLabel()(x, labels), student)


@pytest.mark.parametrize(("classes", "labels"), [(3, CLASSES), (1, SCORES)])
def test_micro_batches_average_to_the_whole_batch_however_labels_are_spread(classes, labels):
    student = logits(classes)
    parts = [HardLabel()(student[rows], labels[rows]) for rows in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, HardLabel()(student, labels))


@pytest.mark.parametrize(("classes", "labels"), [(3, torch.full((4,), -100)), (1, torch.full((4,), NAN))])
def test_a_batch_without_labels_gives_a_differentiable_zero(classes, labels):
    student = logits(classes)
    value = HardLabel()(student, labels)
    value.backward()
    assert value == 0 and not student.grad.any()


def test_a_perfect_regression_has_no_loss_and_no_gradient():
    student = SCORES.nan_to_num(7.0)[:, None].clone().requires_grad_()
    value = HardLabel()(student, SCORES)
    value.backward()
    assert value == 0 and not student.grad.any()


@pytest.mark.parametrize(("classes", "labels"), [(3, CLASSES), (1, SCORES), (1, SCORES.double())])
def test_half_precision_is_computed_in_float32(classes, labels):
    assert HardLabel()(logits(classes).bfloat16(), labels).dtype == torch.float32


def test_labels_of_another_shape_are_refused():
    with pytest.raises(UserError, match=r"logits are \(4, 3\) and the labels \(4, 1\)"):
        HardLabel()(logits(3), CLASSES[:, None])


def test_float_labels_for_classes_are_refused():
    with pytest.raises(UserError, match=r"integer labels for 3 classes, but they are torch.float32.*num_labels=1"):
        HardLabel()(logits(3), SCORES)
