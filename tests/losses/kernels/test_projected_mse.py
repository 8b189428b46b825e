import pytest
import torch
from support import references
from torch import nn

from kdfeatures.losses.kernels.projected_mse import TOKENS, can_project, projected_mse

B, L, D_S, D_T = 3, 7, 5, 11
MASK = torch.arange(L) < torch.tensor([[7], [1], [4]])


def given(*, bias=True, length=L, dtype=torch.float64):
    torch.manual_seed(3)
    student = torch.randn(B, length, D_S, dtype=dtype, requires_grad=True)
    return student, nn.Linear(D_S, D_T, bias=bias, dtype=dtype), torch.randn(B, length, D_T, dtype=dtype)


def gradients(value, student, linear):
    return torch.autograd.grad(value, [student, *linear.parameters()])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kept", [None, MASK], ids=["all real", "padded"])
def test_value_and_gradients_equal_the_oracle_of_the_projected_states(bias, kept):
    student, linear, teacher = given(bias=bias)
    everything = torch.ones(B, L, dtype=torch.bool)
    expected = references.hidden_mse(linear(student), teacher, everything if kept is None else kept)
    value = projected_mse(student, linear, teacher, kept)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(value, student, linear), gradients(expected, student, linear))


def test_more_tokens_than_a_slice_holds_are_all_counted():
    student, linear, teacher = given(length=TOKENS // 2)
    mask = torch.rand(B, TOKENS // 2) < 0.8
    expected = references.hidden_mse(linear(student), teacher, mask)
    torch.testing.assert_close(projected_mse(student, linear, teacher, mask), expected)


def test_gradcheck():
    student, linear, teacher = given()
    inputs = (student, *linear.parameters())
    assert torch.autograd.gradcheck(lambda *_: projected_mse(student, linear, teacher, MASK), inputs)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
def test_padding_changes_neither_value_nor_gradients(garbage):
    student, linear, teacher = given()
    value = projected_mse(student, linear, teacher, MASK)
    dirty = torch.where(MASK[..., None], student.detach(), garbage).requires_grad_()
    padded = projected_mse(dirty, linear, torch.where(MASK[..., None], teacher, garbage), MASK)
    torch.testing.assert_close(padded, value)
    found, expected = gradients(padded, dirty, linear), gradients(value, student, linear)
    torch.testing.assert_close(found, expected)
    assert not found[0][~MASK].any()


def test_a_fully_masked_batch_gives_a_differentiable_zero():
    student, linear, teacher = given()
    value = projected_mse(student, linear, teacher, torch.zeros(B, L))
    assert value == 0
    assert not any(gradient.any() for gradient in gradients(value, student, linear))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_half_precision_teacher_is_compared_in_the_students_type(dtype):
    student, linear, teacher = given(dtype=torch.float32)
    assert can_project(student, linear, teacher.to(dtype))
    value = projected_mse(student, linear, teacher.to(dtype), MASK)
    expected = references.hidden_mse(linear(student), teacher.to(dtype).float(), MASK)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(value, student, linear), gradients(expected, student, linear))


def test_maps_of_another_type_or_with_hooks_are_called_by_themselves():
    student, linear, teacher = given()
    assert can_project(student, linear, teacher)
    assert not can_project(student, nn.Identity(), teacher)
    assert not can_project(student.bfloat16(), linear, teacher)
    assert not can_project(student.float(), linear.float(), teacher)
    linear.double()
    assert not can_project(student, linear, teacher[..., :-1])
    with torch.autocast("cpu"):
        assert not can_project(student, linear, teacher)
    linear.register_forward_hook(lambda *_: None)
    assert not can_project(student, linear, teacher)
