import math

import pytest
import torch
from support.moving import moving_map
from support.refused import refused_as

from kdfeatures.losses import HiddenCosine, HiddenMSE, TokenGramMSE
from kdfeatures.mapping import AlpMap

MASK = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])


def states(seed, padding=math.nan):
    made = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.where(MASK.bool()[..., None], made, padding)


def by_loops(student, teachers, pool, temperature):
    """The mix, text by text and layer by layer."""
    mixed = torch.zeros_like(student)
    for text, length in enumerate(MASK.sum(1).tolist()):
        vector = student[text, 0] if pool == "cls" else sum(student[text, n] for n in range(length)) / length
        scores = []
        for teacher in teachers:
            own = teacher[text, 0] if pool == "cls" else sum(teacher[text, n] for n in range(length)) / length
            scores.append(sum(vector[d] * own[d] for d in range(5)) / temperature)
        total = sum(score.exp() for score in scores)
        for score, teacher in zip(scores, teachers, strict=True):
            mixed[text, :length] = mixed[text, :length] + score.exp() / total * teacher[text, :length]
    return mixed


@pytest.mark.parametrize("pool", ["cls", "mean"])
@pytest.mark.parametrize("loss", [HiddenMSE(), HiddenCosine()])
def test_value_and_gradient_are_those_of_loops_and_padding_may_hold_anything(pool, loss):
    made = AlpMap(2, 3, pool=pool, temperature=2.0, embeddings=True).double()
    student, teachers = states(0).requires_grad_(), [states(1), states(2), states(3)]

    def term(own, target):
        return loss(own, target, MASK)

    value = made.compare(2, student, teachers, term, MASK)
    (gradient,) = torch.autograd.grad(value, student)
    clean = states(0, 0.0).requires_grad_()
    expected = term(clean, by_loops(clean, [states(n, 0.0) for n in (1, 2, 3)], pool, 2.0))
    (wanted,) = torch.autograd.grad(expected, clean)
    torch.testing.assert_close(value, expected)
    real = MASK.bool()
    torch.testing.assert_close(gradient[real], wanted[real])
    assert not gradient[~real].any()


def test_a_student_layer_equal_to_one_of_long_teacher_layers_has_all_its_weight_there():
    made = moving_map("attention", temperature=1.0)
    teachers = [10 * torch.eye(3)[n].expand(2, 4, 3) for n in range(3)]
    assert made.compare(1, teachers[1], teachers, lambda s, t: HiddenMSE()(s, t, MASK), MASK) == 0
    torch.testing.assert_close(made.weights()[0], torch.tensor([0.0, 1.0, 0.0]))


def test_the_logged_weights_are_the_mean_over_texts_and_batches_until_they_restart():
    made = moving_map("attention")
    seen = []
    for seed in (0, 10, 20):
        student, teachers = states(seed, 0.0), [states(seed + n, 0.0) for n in (1, 2, 3)]
        seen.append(made.weights_of(student, teachers, MASK.bool()).mean(0))
        made.compare(2, student, teachers, lambda s, t: HiddenMSE()(s, t, MASK), MASK)
    torch.testing.assert_close(made.weights()[1].double(), torch.stack(seen).mean(0))
    assert not made.weights()[0].any()
    made.restart()
    assert not made.weights().any()


def test_a_batch_without_a_real_token_is_a_differentiable_zero():
    student = torch.full((2, 4, 5), torch.nan, requires_grad=True)
    none = torch.zeros_like(MASK)
    value = moving_map("attention").compare(
        1, student, [torch.full((2, 4, 5), torch.nan)] * 3, lambda s, t: HiddenMSE()(s, t, none), none
    )
    value.backward()
    assert value == 0 and not student.grad.any()


@pytest.mark.parametrize(
    ("own", "message"),
    [
        ({"pool": "max"}, r"pool=max is unknown; did you mean .* choose cls or mean"),
        ({"temperature": 0.0}, r"temperature=0.0 must be a finite number above 0"),
    ],
)
def test_options_without_meaning_are_refused(own, message):
    with refused_as(f"^{message}", "mapping", f"mapping.{message}"):
        moving_map("attention", **own)


def test_widths_that_differ_without_a_projection_are_refused():
    told = r"compares widths 16 \(student\) and 24 \(teacher\) without a"
    with refused_as(told, "losses.x", f"losses.x {told}"):
        moving_map("attention").check_loss(TokenGramMSE(), 16, 24)
    moving_map("attention").check_loss(TokenGramMSE(), 24, 24)
    moving_map("attention").check_loss(HiddenMSE(), 16, 24)
