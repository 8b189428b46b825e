import pytest
import torch
from support import hidden_references as of_hidden

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses import (
    EmbeddingLoss,
    EmbeddingRKDAngle,
    EmbeddingRKDDistance,
    EmbeddingSimilarity,
    HiddenMSE,
    LogitKD,
    RKDAngle,
    RKDDistance,
)

VECTORS = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
WIDE = torch.randn(6, 9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize(
    ("loss", "oracle"),
    [
        (EmbeddingSimilarity(), of_hidden.similarity),
        (EmbeddingRKDDistance(), of_hidden.rkd_distance),
        (EmbeddingRKDAngle(), of_hidden.rkd_angle),
    ],
)
@pytest.mark.parametrize("teacher", [VECTORS[1], WIDE])
def test_vectors_of_any_widths_equal_the_oracle_on_one_token_in_value_and_gradient(loss, oracle, teacher):
    gradients = []
    for compute in (loss, lambda s, t: oracle(s[:, None], t[:, None], torch.ones(6, 1, dtype=torch.bool), "mean")):
        student = VECTORS[0].clone().requires_grad_()
        value = compute(student, teacher)
        gradients.append((value, *torch.autograd.grad(value, student)))
    torch.testing.assert_close(gradients[0], gradients[1])
    assert not loss.needs_projection


def test_any_loss_on_hidden_states_serves():
    loss = EmbeddingLoss(HiddenMSE())
    torch.testing.assert_close(loss(*VECTORS), (VECTORS[0] - VECTORS[1]).square().mean())
    assert loss.needs_projection and EmbeddingLoss(lambda s, t, mask: (s - t).abs().mean()).needs_projection


def test_losses_on_other_inputs_and_other_shapes_are_refused():
    with pytest.raises(ConfigError, match="compares logits"):
        EmbeddingLoss(LogitKD())
    with pytest.raises(UserError, match="compares vectors"):
        EmbeddingSimilarity()(VECTORS, VECTORS)


def test_the_defaults_of_rkd_are_those_on_layers():
    assert EmbeddingRKDDistance().loss.pool == RKDDistance().pool and EmbeddingRKDAngle().loss.pool == RKDAngle().pool
