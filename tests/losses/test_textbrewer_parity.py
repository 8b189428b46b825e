"""Our losses against TextBrewer's published ones, where both define the same quantity.

Sequences have equal lengths within a batch: TextBrewer averages over all tokens of a batch, we over each first.
It sums the normalised [CLS] distance over the width, and has no T^2; the tests say so by a factor.
"""

import pytest
import torch

from kdfeatures.features import AttentionStates
from kdfeatures.losses import (
    AttentionScoreMSE,
    FeatureGramMSE,
    FlowMSE,
    HiddenCosine,
    HiddenMSE,
    LogitKD,
    LogitMSE,
    NormalizedClsMSE,
    SoftCrossEntropy,
    TokenGramMSE,
)

peer = pytest.importorskip("textbrewer.losses", reason='TextBrewer is not installed: pip install -e ".[peers]"')

B, L, D, H, REAL = 3, 7, 10, 2, 5


def hidden():
    return torch.randn(B, L, D, dtype=torch.float64, requires_grad=True)


def mask():
    keep = torch.zeros(B, L)
    keep[:, :REAL] = 1
    return keep


def same(ours, theirs, operand):
    torch.testing.assert_close(ours, theirs)
    gradients = [torch.autograd.grad(loss, operand)[0] for loss in (ours, theirs)]
    torch.testing.assert_close(*gradients)


def test_hidden_mse():
    student, teacher = hidden(), hidden().detach()
    same(HiddenMSE()(student, teacher, mask()), peer.hid_mse_loss(student, teacher, mask()), student)


def test_hidden_cosine():
    student, teacher = hidden(), hidden().detach()
    same(HiddenCosine()(student, teacher, mask()), peer.cos_loss(student, teacher, mask()), student)


def test_normalised_cls_is_theirs_over_the_width():
    student, teacher = hidden(), hidden().detach()
    same(NormalizedClsMSE()(student, teacher, mask()), peer.pkd_loss(student, teacher) / D, student)


def test_attention_score_mse():
    query = torch.randn(B, H, L, 4, dtype=torch.float64, requires_grad=True)
    student = AttentionStates(query, torch.randn_like(query), torch.randn_like(query), 0.5)
    teacher = AttentionStates(*(torch.randn_like(query) for _ in range(3)), 0.7)
    theirs = peer.att_mse_loss(student.attention.scores(), teacher.attention.scores(), mask())
    same(AttentionScoreMSE()(student, teacher, mask()), theirs, query)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_soft_cross_entropy(temperature):
    student = torch.randn(B, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(B, 4, dtype=torch.float64)
    theirs = peer.kd_ce_loss(student, teacher, temperature)
    same(SoftCrossEntropy(temperature=temperature)(student, teacher), theirs, student)


def test_logit_kd_has_their_gradient_times_the_squared_temperature():
    student = torch.randn(B, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(B, 4, dtype=torch.float64)
    ours = torch.autograd.grad(LogitKD(temperature=3.0)(student, teacher), student)[0]
    theirs = torch.autograd.grad(peer.kd_ce_loss(student, teacher, 3.0), student)[0]
    torch.testing.assert_close(ours, 9 * theirs)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_logit_mse_is_theirs_times_the_squared_temperature(temperature):
    student = torch.randn(B, 4, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(B, 4, dtype=torch.float64)
    theirs = temperature**2 * peer.kd_mse_loss(student, teacher, temperature)
    same(LogitMSE()(student, teacher), theirs, student)


def test_feature_gram_is_their_fsp_of_one_layer_with_itself():
    student, teacher = hidden(), hidden().detach()
    theirs = peer.fsp_loss([student, student], [teacher, teacher], mask())
    same(FeatureGramMSE()(student, teacher, mask()), theirs, student)


def test_flow_is_their_fsp_of_two_layers():
    student, teacher = (hidden(), hidden()), (hidden().detach(), hidden().detach())
    for operand in student:
        same(FlowMSE()(student, teacher, mask()), peer.fsp_loss(student, teacher, mask()), operand)


def test_token_gram_is_their_nst_of_one_layer_with_itself():
    student, teacher = hidden(), torch.randn(B, L, 4, dtype=torch.float64)
    theirs = peer.mmd_loss([student, student], [teacher, teacher])
    same(TokenGramMSE()(student, teacher, None), theirs, student)


def test_with_a_mask_their_nst_divides_by_the_padded_length_instead_of_the_widths():
    student, teacher = hidden(), hidden().detach()
    theirs = peer.mmd_loss([student, student], [teacher, teacher], mask())
    same(TokenGramMSE()(student, teacher, mask()), theirs * (L / D) ** 2, student)
