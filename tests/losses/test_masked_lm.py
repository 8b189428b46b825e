import pytest
import torch

from kdfeatures.errors import ConfigError
from kdfeatures.losses import HardLabel, MaskedLanguageModel

LABELS = torch.tensor([3, -100, 0, -100, 4])


def logits(seed=0):
    random = torch.Generator().manual_seed(seed)
    return torch.randn(5, 6, generator=random, dtype=torch.float64).requires_grad_()


def oracle(student, labels):
    """Token by token: minus the logarithm of the true token's share of the exponentials."""
    values = [-torch.log(row.exp()[y] / row.exp().sum()) for row, y in zip(student, labels, strict=True) if y >= 0]
    return sum(values) / len(values)


def test_value_and_gradient_equal_the_oracle():
    student = logits()
    value, expected = MaskedLanguageModel()(student, LABELS), oracle(student, LABELS)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(torch.autograd.grad(value, student), torch.autograd.grad(expected, student))
    assert torch.autograd.gradcheck(lambda x: MaskedLanguageModel()(x, LABELS), student)


def test_tokens_that_were_not_masked_do_not_count_unlike_in_hard_label():
    student = logits()
    value = MaskedLanguageModel()(student, LABELS)
    torch.testing.assert_close(value, MaskedLanguageModel()(student[LABELS >= 0], LABELS[LABELS >= 0]))
    torch.testing.assert_close(value * 3 / 5, HardLabel()(student, LABELS))


def test_without_a_masked_token_it_is_a_differentiable_zero():
    student = logits()
    value = MaskedLanguageModel()(student, torch.full((5,), -100))
    value.backward()
    assert value == 0 and not student.grad.any()


def test_half_precision_is_computed_in_float32():
    assert MaskedLanguageModel()(logits().bfloat16(), LABELS).dtype == torch.float32


@pytest.mark.parametrize("labels", [LABELS[:4], LABELS.double()])
def test_other_shapes_and_scores_are_refused(labels):
    message = "MaskedLanguageModel needs logits .tokens, vocabulary. and one token id"
    with pytest.raises(ConfigError, match=message) as refused:
        MaskedLanguageModel()(logits(), labels)
    assert refused.value.key == "loss.masked_tokens"
    assert refused.value.facts == {"logits": (5, 6), "labels": tuple(labels.shape), "dtype": labels.dtype}
