"""Losses over a vocabulary, a few rows at a time: the values and gradients of logits that are made as a whole."""

import pytest
import torch
from torch import nn

from kdfeatures.errors import UserError
from kdfeatures.features import VocabularyLogits
from kdfeatures.losses import (
    DecoupledKD,
    JensenShannon,
    LogitKD,
    LogitMSE,
    MaskedLanguageModel,
    PseudoLabel,
    ReverseKL,
    SkewKL,
    SkewReverseKL,
    SoftCrossEntropy,
)
from kdfeatures.losses.kernels import row_blocks
from kdfeatures.losses.vocabulary import OutputTerm, vocabulary_loss

ROWS, VOCABULARY, WIDTH, TEACHER_WIDTH = 37, 101, 8, 12
WITH_TEACHER = {
    "KL": LogitKD(temperature=1.0),
    "KL at T = 3": LogitKD(temperature=3.0),
    "soft cross-entropy at T = 2": SoftCrossEntropy(temperature=2.0),
    "reverse KL at T = 2": ReverseKL(temperature=2.0),
    "Jensen-Shannon": JensenShannon(beta=0.3),
    "skew KL": SkewKL(temperature=2.0),
    "skew reverse KL": SkewReverseKL(),
    "squared error": LogitMSE(),
    "pseudo-labels": PseudoLabel(),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 3 rows, chunks of 24, so that 37 rows are cut unevenly at both."""
    monkeypatch.setattr(row_blocks, "CPU_BLOCK", 3 * VOCABULARY)
    monkeypatch.setattr(row_blocks, "LARGE", 1)


def decoder(width, *, bias=True, dtype=torch.float64):
    torch.manual_seed(width)
    return nn.Linear(width, VOCABULARY, bias=bias, dtype=dtype)


def given(*, bias=True, dtype=torch.float64):
    """The student's logits with learned states and decoder, the teacher's, and labels, a fifth of which are there."""
    student, teacher = decoder(WIDTH, bias=bias, dtype=dtype), decoder(TEACHER_WIDTH, dtype=dtype).requires_grad_(False)
    states = (3 * torch.randn(ROWS, WIDTH, dtype=dtype)).requires_grad_()
    labels = torch.where(torch.rand(ROWS) < 0.2, torch.randint(VOCABULARY, (ROWS,)), -100)
    assert 0 < (labels >= 0).sum() < ROWS
    its_states = 3 * torch.randn(ROWS, TEACHER_WIDTH, dtype=dtype)
    return (
        VocabularyLogits(states, student.weight, student.bias),
        VocabularyLogits(its_states, teacher.weight, teacher.bias),
        labels,
    )


def inputs_of(student):
    return [x for x in (student.states, student.weight, student.bias) if x is not None and x.requires_grad]


def assert_same(student, terms, plain, *, relative=1e-6):
    """plain: the terms' values of logits that are made."""
    expected = sum(term.weight * value for term, value in zip(terms, plain, strict=True))
    total, values = vocabulary_loss(student, terms)
    torch.testing.assert_close(total, expected)
    torch.testing.assert_close(torch.stack(values), torch.stack(plain).detach())
    inputs = inputs_of(student)
    for found, known in zip(
        torch.autograd.grad(0.25 * total, inputs), torch.autograd.grad(0.25 * expected, inputs), strict=True
    ):
        assert known.norm() > 0
        assert (found - known).norm() <= relative * known.norm()


@pytest.mark.parametrize("name", WITH_TEACHER)
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
def test_value_and_gradient_of_a_loss_between_logits(name, bias):
    student, teacher, _ = given(bias=bias)
    loss = WITH_TEACHER[name]
    assert_same(student, [OutputTerm(loss, 0.7, teacher)], [loss(student.logits(), teacher.logits())])


def test_a_loss_that_reads_logits_and_labels():
    student, teacher, labels = given()
    loss = DecoupledKD()
    plain = loss(student.logits(), teacher.logits(), labels)
    assert_same(student, [OutputTerm(loss, 1.0, teacher, labels)], [plain])


def test_terms_together_each_over_its_own_rows():
    student, teacher, labels = given()
    soft, hard = LogitKD(temperature=2.0), MaskedLanguageModel()
    terms = [OutputTerm(soft, 0.5, teacher), OutputTerm(hard, 2.0, labels=labels)]
    assert_same(student, terms, [soft(student.logits(), teacher.logits()), hard(student.logits(), labels)])


def test_in_single_precision_and_with_a_teacher_whose_logits_are_there():
    student, teacher, labels = given(dtype=torch.float32)
    soft, hard = LogitKD(temperature=2.0), MaskedLanguageModel()
    terms = [OutputTerm(soft, 1.0, teacher.logits()), OutputTerm(hard, 1.0, labels=labels)]
    assert_same(student, terms, [soft(student.logits(), teacher.logits()), hard(student.logits(), labels)])


def test_of_masked_tokens_alone_no_other_logits_are_made():
    student, _, labels = given()
    seen = []

    class Watched(MaskedLanguageModel):
        def forward(self, logits, labels):
            seen.append(len(logits))
            return super().forward(logits, labels)

    assert_same(student, [OutputTerm(Watched(), 1.0, labels=labels)], [MaskedLanguageModel()(student.logits(), labels)])
    assert sum(seen) == (labels >= 0).sum()


def test_a_batch_without_a_masked_token_is_a_differentiable_zero():
    student, _, labels = given()
    total, values = vocabulary_loss(student, [OutputTerm(MaskedLanguageModel(), 1.0, labels=labels.fill_(-100))])
    total.backward()
    assert total.item() == values[0].item() == 0
    assert all((x.grad == 0).all() for x in inputs_of(student))


@pytest.mark.parametrize("frozen", ["states", "weight", "bias"])
def test_what_is_frozen_gets_no_gradient(frozen):
    student, teacher, _ = given()
    getattr(student, frozen).requires_grad_(False)
    loss = ReverseKL()
    assert_same(student, [OutputTerm(loss, 1.0, teacher)], [loss(student.logits(), teacher.logits())])


def test_without_gradients_only_values_are_computed():
    student, teacher, labels = given()
    terms = [OutputTerm(LogitKD(), 1.0, teacher), OutputTerm(MaskedLanguageModel(), 1.0, labels=labels)]
    with torch.no_grad():
        total, values = vocabulary_loss(student, terms)
    assert not total.requires_grad
    torch.testing.assert_close(total, sum(values))
    torch.testing.assert_close(values[0], LogitKD()(student.logits(), teacher.logits()).detach())


def test_a_weight_that_is_tied_to_the_embeddings_gets_both_gradients():
    _, teacher, _ = given()
    embeddings = nn.Embedding(VOCABULARY, TEACHER_WIDTH, dtype=torch.float64)
    ids = torch.randint(VOCABULARY, (ROWS,))
    loss = LogitKD()

    def gradient(of):
        student = VocabularyLogits(embeddings(ids).tanh(), embeddings.weight)
        return torch.autograd.grad(of(student), embeddings.weight)[0]

    plain = gradient(lambda student: loss(student.logits(), teacher.logits()))
    fused = gradient(lambda student: vocabulary_loss(student, [OutputTerm(loss, 1.0, teacher)])[0])
    torch.testing.assert_close(fused, plain)


def test_under_autocast_products_are_made_in_its_type_and_sums_in_single_precision():
    student, teacher, _ = given(dtype=torch.float32)
    loss = LogitKD(temperature=2.0)
    inputs = inputs_of(student)
    exact = torch.autograd.grad(loss(student.logits(), teacher.logits()), inputs)
    with torch.autocast("cpu", torch.bfloat16):
        assert student.operands().logits().dtype == torch.bfloat16
        plain = torch.autograd.grad(loss(student.logits(), teacher.logits()), inputs)
        total, _ = vocabulary_loss(student, [OutputTerm(loss, 1.0, teacher)])
    assert total.dtype == torch.float32
    for found, of_plain, known in zip(torch.autograd.grad(total, inputs), plain, exact, strict=True):
        assert found.dtype == torch.float32
        assert (found - known).norm() <= 1.5 * (of_plain - known).norm() + 1e-3 * known.norm()


def test_small_float16_gradients_survive_until_they_are_scaled():
    student, teacher, _ = given(dtype=torch.float16)
    scale = 2.0**20
    total, _ = vocabulary_loss(student, [OutputTerm(LogitKD(), 1e-6, teacher)])
    (scale * total).backward()
    wide = [x.detach().double().requires_grad_() for x in inputs_of(student)]
    plain = 1e-6 * scale * LogitKD()(VocabularyLogits(*wide).logits(), teacher.logits().double())
    plain.backward()
    for x, expected in zip(inputs_of(student), wide, strict=True):
        torch.testing.assert_close(
            x.grad.double(), expected.grad, rtol=0.02, atol=0.02 * expected.grad.abs().max().item()
        )


def test_models_of_two_vocabularies_are_refused():
    student, teacher, _ = given()
    other = VocabularyLogits(teacher.states, teacher.weight[:-1], None)
    with pytest.raises(UserError, match=r"the student gives \(37, 101\) and the teacher \(37, 100\)"):
        vocabulary_loss(student, [OutputTerm(LogitKD(), 1.0, other)])


@pytest.mark.parametrize("name", [name for name in WITH_TEACHER if name not in ("squared error", "pseudo-labels")])
def test_wide_logits_that_are_there_are_compared_block_by_block(name, monkeypatch):
    student, teacher, _ = given()
    logits, targets, loss = student.logits().detach().requires_grad_(), teacher.logits(), WITH_TEACHER[name]
    widest = []
    of_rows = type(loss).of_rows
    monkeypatch.setattr(type(loss), "of_rows", lambda self, s, t: widest.append(len(s)) or of_rows(self, s, t))
    value = loss(logits, targets)
    (found,) = torch.autograd.grad(0.5 * value, logits)
    assert max(widest) == 3 and sum(widest) == ROWS
    with torch.no_grad():
        torch.testing.assert_close(loss(logits, targets), value.detach())
    monkeypatch.setattr(row_blocks, "LARGE", 10**9)
    plain = loss(logits, targets)
    torch.testing.assert_close(value, plain)
    torch.testing.assert_close(found, torch.autograd.grad(0.5 * plain, logits)[0])


def test_wide_float16_logits_keep_small_gradients():
    student, teacher, _ = given(dtype=torch.float16)
    logits = student.logits().detach().requires_grad_()
    (2.0**20 * (1e-6 * LogitKD()(logits, teacher.logits()))).backward()
    wide = logits.detach().double().requires_grad_()
    (2.0**20 * (1e-6 * LogitKD()(wide, teacher.logits().double()))).backward()
    torch.testing.assert_close(logits.grad.double(), wide.grad, rtol=5e-3, atol=1e-4)
