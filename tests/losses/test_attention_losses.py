import pytest
import torch

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.features import AttentionStates
from kdfeatures.losses import AttentionKL, AttentionScoreMSE, ValueRelation

EQUAL_HEADS = [AttentionScoreMSE(), AttentionKL(), ValueRelation()]


def states(heads, width, seed, length=7, allowed=None):
    random = torch.Generator().manual_seed(seed)
    query, key, value = torch.randn(3, 3, heads, length, width, generator=random, dtype=torch.float64)
    return AttentionStates(query, key, value, 0.5, allowed)


def window(reach, length=7):
    position = torch.arange(length)
    return ((position[:, None] - position).abs() <= reach).expand(3, 1, length, length)


@pytest.mark.parametrize("loss", EQUAL_HEADS, ids=repr)
def test_unequal_head_counts_are_refused_before_and_during_training(loss):
    name = type(loss).__name__
    message = f"{name} needs equal head counts, but the student has 4 heads and the teacher 12; .*RelationKL does not"
    with pytest.raises(ConfigError, match=message) as refused:
        loss.check(4, 312, 12, 768)
    assert refused.value.key == "loss.heads"
    assert refused.value.facts == {
        "loss": name,
        "student_heads": 4,
        "teacher_heads": 12,
        "compares_scores": name != "ValueRelation",
    }
    with pytest.raises(ConfigError, match=message):
        loss(states(4, 3, 1), states(12, 2, 2), None)
    loss.check(12, 312, 12, 768)


@pytest.mark.parametrize("loss", EQUAL_HEADS, ids=repr)
def test_sequences_of_another_length_are_refused(loss):
    with pytest.raises(UserError, match=r"is \(3, 4, 7\) for the student and \(3, 4, 6\) for the teacher"):
        loss(states(4, 3, 1), states(4, 3, 2, length=6), None)


def test_only_the_score_loss_sees_a_constant_added_to_a_row():
    student, teacher = states(4, 3, 1), states(4, 3, 2)
    # key + c adds q'c to all of a row's scores
    shifted = student._replace(key=student.key + torch.tensor([1.0, -2.0, 0.5]))
    torch.testing.assert_close(AttentionKL()(shifted, teacher, None), AttentionKL()(student, teacher, None))
    difference = AttentionScoreMSE()(shifted, teacher, None) - AttentionScoreMSE()(student, teacher, None)
    assert difference.abs() > 0.1


@pytest.mark.parametrize("additive", [False, True])
@pytest.mark.parametrize("side", ["student", "teacher"])
def test_attention_is_compared_over_the_keys_both_models_may_attend_to(side, additive):
    near = window(1)
    allowed = torch.zeros(near.shape).masked_fill(~near, torch.finfo(torch.float32).min) if additive else near
    student = states(4, 5, 1, allowed=allowed if side == "student" else None)
    teacher = states(4, 3, 2, allowed=allowed if side == "teacher" else None)

    scores_s, scores_t = student.attention.scores(), teacher.attention.scores()
    rows, squares = [], []
    for i in range(7):
        keys = slice(max(i - 1, 0), i + 2)
        p, q = torch.softmax(scores_t[:, :, i, keys], -1), torch.softmax(scores_s[:, :, i, keys], -1)
        rows.append((p * (p / q).log()).sum(-1))
        squares.append((scores_s - scores_t)[:, :, i, keys].square())
    torch.testing.assert_close(AttentionKL()(student, teacher, None), torch.stack(rows).mean())
    torch.testing.assert_close(AttentionScoreMSE()(student, teacher, None), torch.cat(squares, -1).mean())


def test_a_row_without_a_common_key_is_left_out():
    allowed = window(7).clone()
    allowed[:, :, 2] = False
    student, teacher = states(4, 5, 1, allowed=allowed), states(4, 3, 2)
    student.query.requires_grad_()
    value = AttentionKL()(student, teacher, None)
    value.backward()

    def others(x):
        return x._replace(query=x.query.detach()[:, :, [0, 1, 3, 4, 5, 6]])

    p, q = (torch.softmax(others(x).attention.scores(), -1) for x in (teacher, student))
    torch.testing.assert_close(value, (p * (p / q).log()).sum(-1).mean())
    assert not student.query.grad[:, :, 2].any() and student.query.grad.isfinite().all()
