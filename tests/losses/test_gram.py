import pytest
import torch

from kdfeatures.losses.gram import gram_pays, inner_product


@pytest.mark.parametrize("length", [3, 40], ids=["by scores", "by Gram matrices"])
def test_inner_products_of_similarities_equal_the_sum_over_token_pairs(length):
    states, others = torch.randn(2, length, 7, dtype=torch.float64), torch.randn(2, length, 5, dtype=torch.float64)
    states[1, 2:], others[1, 2:] = 0, 0
    expected = torch.einsum("bid,bjd,bie,bje->b", states, states, others, others)
    torch.testing.assert_close(inner_product(states, others), expected)
    assert torch.autograd.gradcheck(inner_product, (states.requires_grad_(), others), fast_mode=True)


def test_gram_matrices_are_taken_for_long_sequences_of_narrow_heads():
    assert gram_pays(512, 16, 32) and gram_pays(128, 16, 32)
    assert not gram_pays(128, 64, 64) and not gram_pays(32, 16, 32)
