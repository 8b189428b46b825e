"""What every loss that compares student with teacher must do, whatever it compares."""

import pytest
import torch
from support.loss_cases import BATCHWISE, COMPARING, LOGITS, LOGITS_BATCHWISE, MASKED, SCALE_S

from kdfeatures.errors import UserError
from kdfeatures.losses import SoftCrossEntropy

BATCH, LENGTH = 5, 7
LENGTHS = torch.tensor([[7], [1], [4], [6], [3]])
MASK = torch.arange(LENGTH) < LENGTHS
GARBAGE = [float("nan"), float("inf"), 1e30]


def both(case, batch=BATCH, length=LENGTH):
    student = [state.requires_grad_() for state in case.states("student", batch, length, seed=1)]
    return student, case.states("teacher", batch, length, seed=2)


def gradients(value, states):
    """Gradients by state; a state that the loss does not use gives zeros."""
    found = torch.autograd.grad(value, states, allow_unused=True)
    return [torch.zeros_like(x) if g is None else g for g, x in zip(found, states, strict=True)]


@pytest.mark.parametrize("case", COMPARING, ids=str)
@pytest.mark.parametrize("holes", [False, True], ids=["padded on the right", "holes and an empty sequence"])
def test_value_and_gradient_equal_the_oracle(case, holes):
    mask = MASK.clone()
    if holes:
        mask[0, 2:4] = False
        mask[1] = False
    student, teacher = both(case)
    value, expected = case.value(student, teacher, mask), case.oracle(student, teacher, mask)
    torch.testing.assert_close(value, expected, rtol=1e-10, atol=1e-12)
    assert value > 1e-3
    torch.testing.assert_close(gradients(value, student), gradients(expected, student), rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("case", COMPARING, ids=str)
def test_gradcheck(case):
    student, teacher = both(case, batch=4, length=3)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [1, 1, 1]])
    # fast: one random direction; the oracle test compares every entry
    assert torch.autograd.gradcheck(lambda *states: case.value(states, teacher, mask), student, fast_mode=True)


@pytest.mark.parametrize("case", COMPARING, ids=str)
def test_gradient_is_zero_and_value_minimal_where_student_equals_teacher(case):
    teacher = case.states("student", BATCH, LENGTH, seed=1)
    student = [state.clone().requires_grad_() for state in teacher]
    value = case.value(student, teacher, MASK, scale_t=SCALE_S)
    minimum = 0.0
    if isinstance(case.loss, SoftCrossEntropy):
        softened = torch.distributions.Categorical(logits=teacher[0] / case.loss.temperature)
        minimum = softened.entropy().mean().item()
    assert value.item() == pytest.approx(minimum, abs=1e-12)
    for gradient in gradients(value, student):
        assert gradient.abs().max() < 1e-12


@pytest.mark.parametrize("case", MASKED, ids=str)
@pytest.mark.parametrize("garbage", GARBAGE)
def test_padding_changes_neither_value_nor_gradient(case, garbage):
    student, teacher = both(case)
    value = case.value(student, teacher, MASK)
    expected = gradients(value, student)

    def padded(state):  # garbage in the padding there is, and three more positions of it
        state = state.detach().clone()
        keep = MASK[:, None, :, None] if state.ndim == 4 else MASK[:, :, None]
        state = torch.where(keep, state, garbage)
        return torch.cat([state, torch.full_like(state[..., :3, :], garbage)], dim=-2)

    longer = [padded(state).requires_grad_() for state in student]
    mask = torch.cat([MASK, torch.zeros(BATCH, 3, dtype=torch.bool)], dim=1)
    padded_value = case.value(longer, [padded(state) for state in teacher], mask)
    torch.testing.assert_close(padded_value, value)
    for gradient, wanted in zip(gradients(padded_value, longer), expected, strict=True):
        torch.testing.assert_close(gradient[..., :LENGTH, :], wanted)
        assert not gradient[..., LENGTH:, :].any()


@pytest.mark.parametrize("case", [case for case in COMPARING if case not in (*BATCHWISE, *LOGITS_BATCHWISE)], ids=str)
def test_a_batch_is_the_mean_of_its_examples(case):
    student, teacher = both(case)
    singles = []
    for b, length in enumerate(LENGTHS.flatten().tolist()):
        cut = slice(None) if case in LOGITS else slice(length)  # an example alone needs no padding, so no mask
        index = (slice(b, b + 1),) if case in LOGITS else (slice(b, b + 1), ..., cut, slice(None))
        singles.append(case.value([x[index] for x in student], [x[index] for x in teacher], None))
    torch.testing.assert_close(case.value(student, teacher, MASK), torch.stack(singles).mean())


@pytest.mark.parametrize("case", MASKED, ids=str)
def test_a_fully_masked_batch_gives_a_differentiable_zero(case):
    student, teacher = both(case)
    student = [torch.full_like(state, float("nan")).requires_grad_() for state in student]
    value = case.value(student, teacher, torch.zeros(BATCH, LENGTH))
    assert value == 0 and value.requires_grad
    for gradient in gradients(value, student):
        assert not gradient.any()


@pytest.mark.parametrize("case", COMPARING, ids=str)
def test_half_precision_is_computed_in_float32(case):
    student, teacher = ([x.detach().bfloat16() for x in states] for states in both(case))
    value = case.value(student, teacher, MASK)
    assert value.dtype == torch.float32
    exact = case.value([x.double() for x in student], [x.double() for x in teacher], MASK)
    torch.testing.assert_close(value.double(), exact, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("case", COMPARING, ids=str)
def test_autocast_does_not_lower_the_precision(case):
    student, teacher = ([x.detach().float() for x in states] for states in both(case))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = case.value(student, teacher, MASK)
    assert inside.dtype == torch.float32
    assert inside == case.value(student, teacher, MASK)


@pytest.mark.parametrize("case", MASKED, ids=str)
def test_a_mask_of_another_length_is_refused(case):
    student, teacher = both(case)
    with pytest.raises(UserError, match=r"\(batch, tokens\) = \(5, 7\).*but is \(5, 6\)"):
        case.value(student, teacher, MASK[:, :6])
