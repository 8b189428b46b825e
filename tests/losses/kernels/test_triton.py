"""The kernels against the PyTorch path: on a GPU where there is one, else through Triton's interpreter."""

import pytest
import torch
from support.pairs import lengths_mask, relations, window

pytest.importorskip("triton", reason="triton is not installed (it comes with the dev extra on Linux x86_64)")

from kdfeatures.losses.kernels import pairwise
from kdfeatures.losses.kernels.triton import divergence_sums

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
LENGTH = 47
PADDED = lengths_mask([47, 1, 20], LENGTH)
HOLES = PADDED.clone()
HOLES[0, 3:9] = False
HOLES[1] = False
ROWS_WITHOUT_KEYS = window(2, LENGTH).clone()
ROWS_WITHOUT_KEYS[4] = False
BY_HEAD = torch.rand(3, 2, LENGTH, LENGTH, generator=torch.Generator().manual_seed(7)) < 0.6
MASKS = {
    "nothing padded": (None, ()),
    "holes": (HOLES, (HOLES[:, None, None], None)),
    "window": (PADDED, (window(5, LENGTH), None)),
    "masks by head and rows without a key": (PADDED, (BY_HEAD, ROWS_WITHOUT_KEYS[None, None])),
    "nothing real": (torch.zeros_like(PADDED), ()),
}


def values_and_gradients(masks, widths, dtype, itself=False):
    student, teacher = relations(3, 2, LENGTH, *widths, dtype, itself)
    mask, allowed = MASKS[masks]
    if mask is not None:  # padding may hold anything
        nan = torch.tensor(torch.nan, dtype=dtype)
        teacher = teacher._replace(left=torch.where(mask[:, None, :, None], teacher.left, nan))
    student, teacher = (
        type(x)(x.left.detach().to(DEVICE), x.right.detach().to(DEVICE), x.scale) for x in (student, teacher)
    )
    left = student.left.requires_grad_()
    student = student._replace(left=left, right=left if itself else student.right.requires_grad_())
    mask = None if mask is None else mask.to(DEVICE)
    allowed = tuple(None if keep is None else keep.to(DEVICE) for keep in allowed)
    value = pairwise.relation_kl(student, teacher, mask, allowed=allowed)
    operands = [student.left] if itself else [student.left, student.right]
    return value, torch.autograd.grad(value, operands)


def both_paths(monkeypatch, *args, **kwargs):
    monkeypatch.setattr(pairwise, "_kernel_fits", lambda *operands: False)
    expected = values_and_gradients(*args, **kwargs)
    calls = []

    def counted(*arguments):
        calls.append(arguments)
        return divergence_sums(*arguments)

    monkeypatch.setattr("kdfeatures.losses.kernels.triton.divergence_sums", counted)
    monkeypatch.setattr(pairwise, "_kernel_fits", lambda *operands: True)
    found = values_and_gradients(*args, **kwargs)
    assert len(calls) == 1
    return found, expected


@pytest.mark.parametrize("masks", MASKS)
def test_kernels_equal_the_pytorch_path_for_every_mask(masks, monkeypatch):
    found, expected = both_paths(monkeypatch, masks, (31, 5), torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("widths", [(3, 70), (128, 16)], ids=str)
def test_kernels_equal_the_pytorch_path_for_other_widths(widths, monkeypatch):
    found, expected = both_paths(monkeypatch, "holes", widths, torch.float32)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_a_self_relation_gets_the_gradients_of_both_operands(monkeypatch):
    found, expected = both_paths(monkeypatch, "holes", (31, 5), torch.float32, itself=True)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_half_precision_is_computed_in_float32(monkeypatch):
    (value, gradients), expected = both_paths(monkeypatch, "window", (31, 5), torch.bfloat16)
    assert value.dtype == torch.float32 and gradients[0].dtype == torch.bfloat16
    torch.testing.assert_close((value, gradients), expected, rtol=1e-2, atol=1e-5)
    torch.testing.assert_close(value, expected[0], rtol=1e-5, atol=0)


def test_kernels_are_not_taken_on_a_cpu():
    assert not pairwise._kernel_fits(torch.zeros(1, 1, 1, 1))
