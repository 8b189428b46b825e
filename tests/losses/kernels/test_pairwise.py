"""Sums over token pairs against the same with all scores materialised."""

from functools import partial

import pytest
import torch
from support.pairs import lengths_mask, materialised_kl, materialised_mse, relations, window
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kdfeatures.errors import UserError
from kdfeatures.features import Relation
from kdfeatures.losses.kernels import batching as parts
from kdfeatures.losses.kernels.pairwise import relation_kl, score_mse

LOSSES = {
    "kl": (relation_kl, materialised_kl),
    "mse": (score_mse, materialised_mse),
    "centred mse": (partial(score_mse, centered=True), partial(materialised_mse, centered=True)),
}
LENGTH = 13
HOLES = lengths_mask([13, 9, 1, 0, 12], LENGTH)
HOLES[0, 3:5] = False
HOLES[4, 0] = False
ROWS_WITHOUT_KEYS = window(2, LENGTH).clone()
ROWS_WITHOUT_KEYS[4] = False
BY_HEAD = torch.rand(5, 3, LENGTH, LENGTH, generator=torch.Generator().manual_seed(7)) < 0.6
MASKS = {
    "nothing padded": (None, ()),
    "padded": (lengths_mask([13, 2, 7, 7, 1], LENGTH), ()),
    "holes": (HOLES, ()),
    "padding as the model was told": (HOLES, (HOLES[:, None, None],)),
    "window": (lengths_mask([13, 2, 7, 7, 1], LENGTH), (window(2, LENGTH), None)),
    "window of one side, padding of the other": (HOLES, (HOLES[:, None, None], window(1, LENGTH)[None, None])),
    "rows without a key": (None, (ROWS_WITHOUT_KEYS.expand(5, 1, LENGTH, LENGTH),)),
    "masks by head": (HOLES, (BY_HEAD,)),
}


def gradients(value, relation):
    operands = [relation.left] if relation.right is relation.left else [relation.left, relation.right]
    return torch.autograd.grad(value, operands)


def assert_equal(loss, oracle, student, teacher, mask, allowed=(), **tolerance):
    value, expected = loss(student, teacher, mask, allowed=allowed), oracle(student, teacher, mask, allowed=allowed)
    torch.testing.assert_close(value, expected, **tolerance)
    torch.testing.assert_close(gradients(value, student), gradients(expected, student), **tolerance)
    return value


@pytest.mark.parametrize("block", [1, 20, 300, 2**18], ids=lambda size: f"blocks of {size}")
@pytest.mark.parametrize("masks", MASKS)
@pytest.mark.parametrize("name", LOSSES)
def test_value_and_gradient_equal_the_materialised_ones_for_every_mask_and_block(name, masks, block, monkeypatch):
    monkeypatch.setattr(parts, "CPU_BLOCK", block)
    for widths in ((1, 2), (5, 3)):  # the first takes Gram matrices, the second scores
        assert_equal(*LOSSES[name], *relations(5, 3, LENGTH, *widths), *MASKS[masks])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("width", [1, 6], ids=["narrow", "wide"])
def test_a_self_relation_gets_the_gradients_of_both_operands(name, width):
    assert_equal(*LOSSES[name], *relations(5, 3, LENGTH, width, 2, itself=True), *MASKS["holes"])


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("batch, heads, length", [(2, 1, 700), (40, 2, 5), (3, 2, 130)])
def test_long_sequences_and_many_short_ones_equal_the_materialised_ones(name, batch, heads, length):
    assert_equal(*LOSSES[name], *relations(batch, heads, length, 3, 2), None)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_lower_precision_is_as_close_to_float64_as_materialised_float32(name, dtype):
    loss, oracle = LOSSES[name]
    student, teacher = relations(2, 3, 96, 16, 32, dtype)
    exact_s, exact_t = (Relation(x.left.double(), x.right.double(), x.scale) for x in (student, teacher))
    exact = oracle(exact_s, exact_t, None)
    value = loss(student, teacher, None)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=0)
    # gradients arrive in the operands' own precision
    rounding = max(torch.finfo(dtype).eps, 1e-5)
    for found, expected in zip(gradients(value, student), gradients(exact, student), strict=True):
        assert found.dtype == dtype
        assert (found - expected).norm() < rounding * expected.norm()


@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("apart", [1e-2, 1e-4])
def test_gram_matrices_stay_exact_where_student_and_teacher_almost_agree(apart, centered):
    student, _ = relations(2, 3, 96, 8, 8, torch.float32)
    noise, _ = relations(2, 3, 96, 8, 8, torch.float32, seed=1)
    teacher = Relation((student.left + apart * noise.left).detach(), student.right.detach(), student.scale)
    exact_s, exact_t = (Relation(x.left.double(), x.right.double(), x.scale) for x in (student, teacher))
    exact = materialised_mse(exact_s, exact_t, None, centered=centered)
    value = score_mse(student, teacher, None, centered=centered)
    torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=0)
    for found, expected in zip(gradients(value, student), gradients(exact, student), strict=True):
        assert (found - expected).norm() < 1e-5 / apart * expected.norm()


class LargestOutput(TorchDispatchMode):
    """Remembers the largest tensor that any operation returned."""

    entries = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        outputs = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(outputs):
            if isinstance(tensor, torch.Tensor):
                self.entries = max(self.entries, tensor.untyped_storage().nbytes() // tensor.element_size())
        return outputs


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("windowed", [False, True])
def test_no_tensor_is_larger_than_the_operands_or_a_block(name, windowed):
    length = 1024
    student, teacher = relations(1, 2, length, 16, 32, torch.float32)
    mask = lengths_mask([1000], length)
    allowed = (window(64, length)[None, None],) if windowed else (mask[:, None, None].expand(1, 1, length, length),)
    loss, _ = LOSSES[name]
    with LargestOutput() as largest:
        loss(student, teacher, mask, allowed=allowed).backward()
    entries = largest.entries - length**2 * windowed  # a view of the caller's own mask
    assert entries <= max(parts.CPU_BLOCK, 2 * length * (16 + 32)) < length**2


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("name", LOSSES)
def test_padding_may_hold_anything(name, garbage):
    student, teacher = relations(5, 3, LENGTH, 2, 2)
    spoilt = [
        Relation(*(torch.where(HOLES[:, None, :, None], x, garbage) for x in side[:2]), side.scale)
        for side in (student, teacher)
    ]
    loss, _ = LOSSES[name]
    value, clean = loss(*spoilt, HOLES), loss(student, teacher, HOLES)
    assert value == clean
    assert all(torch.equal(*pair) for pair in zip(gradients(value, student), gradients(clean, student), strict=True))


@pytest.mark.parametrize("name", LOSSES)
def test_teacher_operands_that_require_gradients_are_refused(name):
    student, teacher = relations(2, 1, 4, 2, 2)
    loss, _ = LOSSES[name]
    with pytest.raises(UserError, match="teacher's operands require gradients; run the teacher under torch.no_grad"):
        loss(teacher, student, None)
    with torch.no_grad():
        assert not loss(teacher, student, None).requires_grad


def test_a_frozen_operand_gets_no_gradient():
    student, teacher = relations(2, 1, 4, 2, 2)
    frozen = student._replace(right=student.right.detach())
    whole = gradients(relation_kl(student, teacher, None), student)
    assert torch.equal(torch.autograd.grad(relation_kl(frozen, teacher, None), frozen.left)[0], whole[0])


def test_backward_may_run_twice_and_scales_with_the_loss():
    student, teacher = relations(2, 1, 4, 2, 2)
    value = relation_kl(student, teacher, None)
    first = torch.autograd.grad(value, student.left, retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(3 * value, student.left)[0], 3 * first)


def test_scaled_gradients_of_float16_do_not_underflow():
    student, teacher = relations(2, 1, 16, 8, 8, torch.float16)
    student = student._replace(scale=1e-4)
    (gradient,) = torch.autograd.grad(relation_kl(student, teacher, None) * 2.0**14, student.left)
    exact_s, exact_t = (Relation(x.left.double(), x.right.double(), x.scale) for x in (student, teacher))
    (expected,) = torch.autograd.grad(materialised_kl(exact_s, exact_t, None) * 2.0**14, student.left)
    torch.testing.assert_close(gradient, expected, rtol=2e-3, atol=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_a_compiled_function_may_contain_the_loss(name):
    student, teacher = relations(2, 2, 9, 2, 2)
    loss, oracle = LOSSES[name]

    def doubled(student, teacher):
        return 2 * loss(student, teacher, None)

    value = torch.compile(doubled, backend="eager")(student, teacher)
    expected = 2 * oracle(student, teacher, None)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(gradients(value, student), gradients(expected, student))


class Compared(nn.Module):
    """A student whose training step is compiled as a whole, the loss within it."""

    def __init__(self, loss):
        super().__init__()
        self.loss, self.query, self.key = loss, nn.Linear(6, 6).double(), nn.Linear(6, 6).double()

    def forward(self, hidden, teacher):
        heads = [layer(hidden).unflatten(-1, (3, 2)).transpose(1, 2) for layer in (self.query, self.key)]
        return 2 * self.loss(Relation(*heads, 0.4), teacher, None)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.parametrize("name", LOSSES)
def test_a_model_compiled_around_the_loss_gives_its_values_and_gradients(name, backend):
    loss, oracle = LOSSES[name]
    plain, compiled = Compared(oracle), Compared(loss)
    compiled.load_state_dict(plain.state_dict())
    step = torch.compile(compiled, backend=backend)
    for batch, length in ((2, 9), (2, 9), (3, 9), (3, 5)):  # again, and for other shapes
        _, teacher = relations(batch, 3, length, 2, 2)
        hidden = torch.randn(batch, length, 6, dtype=torch.float64)
        values = step(hidden, teacher), plain(hidden, teacher)
        torch.testing.assert_close(*values)
        of_step, expected = (
            torch.autograd.grad(value, list(model.parameters()), allow_unused=True)
            for value, model in zip(values, (compiled, plain), strict=True)
        )
        torch.testing.assert_close(of_step, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_precisions_of_the_operands_may_differ(name):
    student, teacher = relations(2, 2, 9, 2, 2)
    mixed_s = student._replace(left=student.left.detach().float().requires_grad_())
    mixed_t = teacher._replace(right=teacher.right.float())
    loss, oracle = LOSSES[name]
    value, expected = loss(mixed_s, mixed_t, None), oracle(student, teacher, None)
    torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=0)
    found = gradients(value, mixed_s)
    assert [x.dtype for x in found] == [torch.float32, torch.float64]
    torch.testing.assert_close([x.double() for x in found], [*gradients(expected, student)], rtol=1e-4, atol=1e-6)
