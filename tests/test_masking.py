import pytest
import torch

from kdfeatures import masking
from kdfeatures.errors import UserError
from kdfeatures.masking import (
    blank_padding,
    centred_tokens,
    full_precision,
    masked_mean,
    real_pairs,
    real_tokens,
    sequence_mean,
    token_mean,
    zero_padding_,
)

MASK = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_masks_of_any_type_mean_the_same(dtype):
    real = real_tokens(MASK.to(dtype), torch.zeros(3, 3, 5))
    assert real.dtype == torch.bool and torch.equal(real, MASK.bool())


def test_no_mask_means_that_all_tokens_are_real():
    assert torch.equal(real_tokens(None, torch.zeros(2, 4, 7, 5)), torch.ones(2, 7, dtype=torch.bool))


def test_a_mask_that_does_not_fit_is_refused():
    with pytest.raises(UserError, match=r"\(batch, tokens\) = \(2, 7\) like the states, but is \(3, 3\)"):
        real_tokens(MASK, torch.zeros(2, 4, 7, 5))


@pytest.mark.parametrize(
    ("given", "computed"),
    [
        (torch.bfloat16, torch.float32),
        (torch.half, torch.float32),
        (torch.float32,) * 2,
        (torch.float64,) * 2,
    ],
)
def test_precision_is_float32_or_wider(given, computed):
    assert full_precision(torch.zeros(2, dtype=given)).dtype == computed
    assert blank_padding(torch.zeros(3, 3, 2, dtype=given), MASK.bool()).dtype == computed


@pytest.fixture(params=["rows", "a mask"])
def written_by(request, monkeypatch):
    """Blank padding as on a CPU, and as on devices that one does not ask for the padded rows."""
    if request.param == "a mask":
        monkeypatch.setattr(masking, "_rows_are_at_hand", lambda states: False)


@pytest.mark.usefixtures("written_by")
@pytest.mark.parametrize("shape", [(3, 3, 5), (3, 4, 3, 5)])
@pytest.mark.parametrize("function", [blank_padding, zero_padding_])
def test_blank_padding_zeroes_only_padded_positions(function, shape):
    states = torch.full(shape, float("nan"))
    states[0, ..., :2, :] = 7.0
    states[1, ..., :1, :] = 7.0
    blank = function(states, MASK.bool())
    assert (blank[0, ..., :2, :] == 7).all() and (blank[1, ..., :1, :] == 7).all()
    assert blank.count_nonzero() * shape[-2] * 3 == 3 * states.numel()
    assert (blank is states) == (function is zero_padding_)


@pytest.mark.usefixtures("written_by")
@pytest.mark.parametrize("shape", [(3, 3, 5), (3, 4, 3, 5)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_gradient_goes_to_padding(shape, dtype):
    states = torch.full(shape, 3.0, dtype=dtype)
    states[2] = float("inf")
    states.requires_grad_()
    blank_padding(states, MASK.bool()).square().sum().backward()
    assert states.grad.dtype == dtype
    assert torch.equal(
        states.grad != 0, (MASK.bool() if len(shape) == 3 else MASK.bool()[:, None])[..., None].expand(shape)
    )
    assert (states.grad[0, ..., :2, :] == 6).all()


@pytest.mark.parametrize("mask", [MASK, torch.ones(3, 3)], ids=["padded", "all real"])
def test_blank_padding_has_second_derivatives(mask):
    states = torch.randn(3, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: blank_padding(x, mask.bool()) ** 3, states)


def test_each_sequence_weighs_the_same_and_empty_ones_nothing():
    values = torch.tensor([[1.0, 3.0, 100.0], [8.0, 100.0, 100.0], [100.0, 100.0, 100.0]])
    assert sequence_mean(values, MASK.bool()) == (2 + 8) / 2  # (1 + 3 + 8) / 3 if tokens weighed the same


def test_one_value_a_sequence_is_averaged_over_the_kept_sequences():
    assert sequence_mean(torch.tensor([1.0, 5.0, 100.0]), torch.tensor([True, True, False])) == 3


def test_keep_is_broadcast_over_heads():
    values = torch.stack([torch.full((3, 3), 2.0), torch.full((3, 3), 4.0)], dim=1)  # (B, H, L)
    assert sequence_mean(values, MASK.bool()[:, None]) == 3


def test_values_that_are_not_kept_may_be_nan():
    values = torch.tensor([[1.0, float("nan")], [float("inf"), 3.0]], requires_grad=True)
    mean = sequence_mean(values, torch.tensor([[True, False], [False, True]]))
    mean.backward()
    assert mean == 2
    assert torch.equal(values.grad, torch.tensor([[0.5, 0.0], [0.0, 0.5]]))


@pytest.mark.parametrize("batch", [0, 2])
def test_nothing_kept_gives_a_differentiable_zero(batch):
    values = torch.full((batch, 3), float("nan"), requires_grad=True)
    mean = sequence_mean(values, torch.zeros(batch, 3, dtype=torch.bool))
    mean.backward()
    assert mean == 0 and not values.grad.any()


def test_equal_micro_batches_average_to_the_whole_batch():
    values = torch.rand(6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    keep = torch.arange(7) < torch.tensor([[7], [1], [4], [2], [6], [3]])
    micro = [sequence_mean(values[i : i + 2], keep[i : i + 2]) for i in (0, 2, 4)]
    torch.testing.assert_close(torch.stack(micro).mean(), sequence_mean(values, keep))


def test_the_mean_token_is_that_of_the_real_ones_and_zero_without_any():
    real = torch.tensor([[True, True, False], [False] * 3])
    states = blank_padding(torch.tensor([[[1.0], [3.0], [9.0]], [[5.0], [7.0], [8.0]]]), real)
    assert token_mean(states, real).tolist() == [[2.0], [0.0]]


def test_the_masked_mean_is_that_of_the_kept_values_and_a_differentiable_zero_without_any():
    values = torch.tensor([1.0, 3.0, float("nan")], requires_grad=True)
    assert masked_mean(values, torch.tensor([True, True, False])) == 2
    nothing = masked_mean(values, torch.zeros(3, dtype=torch.bool))
    nothing.backward()
    assert nothing == 0 and not values.grad.any()


def test_tokens_are_centred_on_the_real_ones_of_the_batch():
    states = torch.tensor([[[1.0], [3.0]], [[8.0], [0.0]]])
    real = torch.tensor([[True, True], [True, False]])
    assert centred_tokens(states, real).tolist() == [[-3.0], [-1.0], [4.0], [0.0]]


def test_pairs_need_two_real_tokens_and_every_models_consent():
    real = torch.tensor([[True, True, False]])
    causal = torch.ones(3, 3, dtype=torch.bool).tril()[None, None]
    assert real_pairs(real).tolist() == [[[[True, True, False], [True, True, False], [False] * 3]]]
    assert real_pairs(real, None, causal).tolist() == [[[[True, False, False], [True, True, False], [False] * 3]]]
