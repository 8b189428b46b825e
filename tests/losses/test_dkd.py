import math

import pytest
import torch

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses import DecoupledKD, LogitKD

LABELS = torch.tensor([2, -100, 0, 1])


def logits(seed, classes=4):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(4, classes, generator=random, dtype=torch.float64).requires_grad_()


def decoupled(target=1.0, other=8.0, temperature=2.0):
    return DecoupledKD(temperature=temperature, target_weight=target, other_weight=other)


def test_kd_is_its_two_parts_with_the_second_weighed_by_the_teachers_doubt():
    student, teacher, labels = logits(1), logits(2), torch.tensor([2, 3, 0, 1])
    doubt = 1 - torch.softmax(teacher / 2, dim=1)[range(4), labels]
    parts = [
        decoupled(1.0, doubt[i].item())(student[i : i + 1], teacher[i : i + 1], labels[i : i + 1]) for i in range(4)
    ]
    torch.testing.assert_close(torch.stack(parts).mean(), LogitKD(temperature=2.0)(student, teacher))


def test_with_two_classes_only_the_first_part_is_left():
    student, teacher, labels = logits(1, classes=2), logits(2, classes=2), torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(
        decoupled(0.5)(student, teacher, labels), 0.5 * LogitKD(temperature=2.0)(student, teacher)
    )


def test_examples_without_a_label_count_zero_and_get_no_gradient():
    student, teacher = logits(1), logits(2)
    value = decoupled()(student, teacher, LABELS)
    kept = [0, 2, 3]
    torch.testing.assert_close(value, 3 / 4 * decoupled()(student[kept], teacher[kept], LABELS[kept]))
    value.backward()
    assert student.grad[kept].any(1).all() and not student.grad[1].any()


def test_a_batch_without_labels_gives_a_differentiable_zero():
    student = logits(1)
    value = decoupled()(student, logits(2), torch.full((4,), -100))
    value.backward()
    assert value == 0 and not student.grad.any()


def test_models_that_are_sure_leave_value_and_gradient_finite():
    student = torch.tensor([[300.0, 0.0, 0.0], [0.0, 300.0, 0.0]], requires_grad=True)
    teacher = torch.tensor([[300.0, 0.0, 1.0], [300.0, 0.0, 1.0]])
    value = decoupled(temperature=1.0)(student, teacher, torch.tensor([0, 0]))
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all() and student.grad[1].any()


def test_labels_that_are_no_class_ids_are_refused():
    with pytest.raises(UserError, match=r"logits are \(4, 4\) and the labels \(4, 1\) of torch.int64"):
        decoupled()(logits(1), logits(2), LABELS[:, None])
    with pytest.raises(UserError, match=r"one class id an example.*labels \(4,\) of torch.float32"):
        decoupled()(logits(1), logits(2), LABELS.float())
    with pytest.raises((RuntimeError, IndexError)):
        decoupled()(logits(1), logits(2), torch.tensor([0, 1, 2, 4]))


@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_a_part_with_a_negative_or_endless_weight_is_refused(value):
    for argument in ("target_weight", "other_weight"):
        with pytest.raises(ConfigError, match=f"^{argument}={value} must be a finite number that is not negative"):
            DecoupledKD(**{argument: value})
