import pytest
import torch
from support.tensor_sizes import LargestTensor

from kdfeatures.losses import FeatureGramMSE, FlowMSE, LinearCKA, TokenGramMSE
from kdfeatures.losses.gram import gram_distance

LOSSES = [TokenGramMSE(), FeatureGramMSE(), LinearCKA()]


def states(seed, length, width, batch=2):
    return torch.randn(batch, length, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize(("length", "width"), [(60, 10), (10, 60)])
def test_the_larger_gram_matrix_is_never_held(loss, length, width):
    student, teacher = states(1, length, width).requires_grad_(), states(2, length, width)
    with LargestTensor() as largest:
        loss(student, teacher, None).backward()
    assert largest.entries == student.numel()  # and 2 * 60 * 60 would be six times that


@pytest.mark.parametrize(("length", "width"), [(60, 10), (10, 60)])
def test_the_flow_between_layers_is_computed_on_its_smaller_side_too(length, width):
    student = [states(seed, length, width).requires_grad_() for seed in (1, 2)]
    with LargestTensor() as largest:
        FlowMSE()(student, [states(seed, length, width) for seed in (3, 4)], None).backward()
    assert largest.entries == student[0].numel()


def test_the_flow_of_a_layer_to_itself_is_its_gram_matrix():
    student, teacher = states(1, 9, 5), states(2, 9, 5)
    value = FlowMSE()((student, student), (teacher, teacher), None)
    torch.testing.assert_close(value, FeatureGramMSE()(student, teacher, None))


@pytest.mark.parametrize(("rows", "columns"), [(9, (4, 3)), (9, (4, 12)), (3, (4, 12))])
def test_both_forms_of_the_distance_agree(rows, columns):
    a, b = states(1, rows, columns[0]), states(2, rows, columns[1])
    expected = torch.linalg.matrix_norm(a @ a.mT - b @ b.mT) ** 2
    torch.testing.assert_close(gram_distance(a, b), expected)


def test_token_grams_ignore_a_rotation_and_feature_grams_an_order_of_tokens():
    student, teacher = states(1, 9, 5), states(2, 9, 5)
    rotated = student @ torch.linalg.qr(states(3, 5, 5)[0]).Q
    shuffled = student[:, torch.randperm(9)]
    tokens, features = TokenGramMSE(), FeatureGramMSE()
    torch.testing.assert_close(tokens(rotated, teacher, None), tokens(student, teacher, None))
    torch.testing.assert_close(features(shuffled, teacher, None), features(student, teacher, None))
    assert not torch.isclose(features(rotated, teacher, None), features(student, teacher, None))
    assert not torch.isclose(tokens(shuffled, teacher, None), tokens(student, teacher, None))


def test_token_grams_are_the_squared_mmd_of_nst_with_the_polynomial_kernel():
    student, teacher = states(1, 6, 4, batch=1), states(2, 6, 3, batch=1)

    def kernel(x, y):  # mean over pairs of features of (x'y)^2
        return (x[0].mT @ y[0]).square().mean()

    mmd = kernel(student, student) + kernel(teacher, teacher) - 2 * kernel(student, teacher)
    torch.testing.assert_close(TokenGramMSE()(student, teacher, None), mmd / 6**2)
