import pytest
import torch
import torch.nn.functional as F

from kdfeatures.errors import ConfigError
from kdfeatures.losses import RKDAngle, RKDDistance

LOSSES = [RKDDistance(pool="cls"), RKDDistance(pool="mean"), RKDAngle(pool="cls"), RKDAngle(pool="mean")]


def states(seed, width=5, batch=6):
    return torch.randn(batch, 4, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def official_distance(student, teacher):
    def relative(x):
        distances = torch.cdist(x, x)
        return distances / distances[distances > 0].mean()

    return F.smooth_l1_loss(relative(student), relative(teacher))


def official_angle(student, teacher):
    def cosines(x):
        directions = F.normalize(x[None] - x[:, None], dim=2)
        return torch.bmm(directions, directions.mT)

    return F.smooth_l1_loss(cosines(student), cosines(teacher))


def test_the_official_code_divides_by_all_pairs_and_triples():
    student, teacher = states(1), states(2, width=8)
    vectors = student[:, 0], teacher[:, 0]
    distance, angle = RKDDistance(pool="cls")(student, teacher, None), RKDAngle(pool="cls")(student, teacher, None)
    torch.testing.assert_close(distance * 5 / 6, official_distance(*vectors))
    torch.testing.assert_close(angle * 5 * 4 / 6**2, official_angle(*vectors))


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("batch", [1, 2])
def test_a_batch_too_small_to_relate_gives_a_differentiable_zero(loss, batch):
    student = states(1, batch=batch).requires_grad_()
    value = loss(student, states(2, batch=batch), None)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-15) and student.grad.abs().max() < 1e-15


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("side", ["student", "teacher", "both"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_examples_leave_value_and_gradient_finite(loss, side, dtype):
    student, teacher = states(1).to(dtype), states(2).to(dtype)
    for x in {"student": [student], "teacher": [teacher], "both": [student, teacher]}[side]:
        x[1:] = x[0]  # as the embedding of [CLS] is
    value = loss(student.requires_grad_(), teacher, None)
    value.backward()
    assert value.isfinite() and student.grad.isfinite().all() and student.grad.abs().max() < 10


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_one_real_sequence_among_empty_ones_leaves_the_gradient_finite(loss):
    student = (1e20 * states(1)).float().requires_grad_()
    mask = torch.zeros(6, 4)
    mask[2, 0] = 1
    value = loss(student, states(2).float(), mask)
    value.backward()
    assert value == 0 and not student.grad.any()


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_moving_turning_and_scaling_all_examples_changes_nothing(loss):
    student, teacher = states(1), states(2)
    moved = 3 * student @ torch.linalg.qr(states(3)[:5, 0]).Q + 7
    torch.testing.assert_close(loss(moved, teacher, None), loss(student, teacher, None))


@pytest.mark.parametrize("kind", [RKDAngle, RKDDistance])
def test_an_unknown_pool_is_refused_with_the_nearest(kind):
    with pytest.raises(ConfigError, match="^pool=means is unknown; did you mean 'mean'.* cls or mean"):
        kind(pool="means")
