import pytest
import torch

from kdfeatures.losses import LinearCKA


def states(seed, width=5, batch=4):
    return torch.randn(batch, 6, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_a_rotation_a_scale_and_an_offset_of_the_student_change_nothing():
    student, teacher = states(1), states(2, width=8)
    moved = 3 * student @ torch.linalg.qr(states(3)[0][:5]).Q + 7
    torch.testing.assert_close(LinearCKA()(moved, teacher, None), LinearCKA()(student, teacher, None))
    assert LinearCKA()(moved, student, None).item() == pytest.approx(0, abs=1e-12)


def test_another_linear_map_of_the_student_changes_it():
    student = states(1)
    assert LinearCKA()(student * torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]), student, None) > 0.1


def test_unrelated_states_are_far_from_aligned_only_with_more_tokens_than_dimensions():
    many = LinearCKA()(states(1, batch=200), states(2, batch=200), None)
    few = LinearCKA()(states(1, width=500, batch=1), states(2, width=500, batch=1), None)
    assert many > 0.95 and few < 0.05


def test_one_token_gives_a_differentiable_zero():
    student = states(1).requires_grad_()
    mask = torch.zeros(4, 6)
    mask[2, 0] = 1
    value = LinearCKA()(student, states(2), mask)
    value.backward()
    assert value == 0 and not student.grad.any()


@pytest.mark.parametrize("width", [5, 50])
def test_a_student_that_gives_all_tokens_one_state_has_loss_one_and_a_finite_gradient(width):
    student = torch.ones(4, 6, width, requires_grad=True)
    value = LinearCKA()(student, states(2).float(), None)
    value.backward()
    assert value == 1 and student.grad.isfinite().all()
