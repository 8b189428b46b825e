import pytest
import torch
from support.loss_cases import BATCHWISE, UNKNOWN_LABEL

from kdfeatures.errors import UserError
from kdfeatures.losses import HiddenCosine, HiddenMSE, LayerNormMSE, NormalizedClsMSE


def states(seed, shape=(3, 7, 11)):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_hidden_mse_is_two_over_width_times_the_hint_loss_of_fitnets():
    student, teacher = states(1), states(2)
    hint = 0.5 * torch.linalg.vector_norm(student - teacher, dim=-1) ** 2
    torch.testing.assert_close(HiddenMSE()(student, teacher, None), 2 / 11 * hint.mean())


@pytest.mark.parametrize("loss", [HiddenCosine(), NormalizedClsMSE()], ids=repr)
def test_directions_only_ignore_the_length_of_the_vectors(loss):
    student, teacher = states(1), states(2)
    torch.testing.assert_close(loss(5 * student, teacher / 3, None), loss(student, teacher, None))
    assert not torch.isclose(HiddenMSE()(5 * student, teacher / 3, None), HiddenMSE()(student, teacher, None))


def test_opposite_vectors_have_cosine_loss_two():
    assert HiddenCosine()(states(1), -states(1), None).item() == pytest.approx(2)


def test_the_cls_loss_is_two_over_width_times_the_cosine_loss_of_the_first_token():
    student, teacher = states(1), states(2)
    first = HiddenCosine()(student[:, :1], teacher[:, :1], None)
    torch.testing.assert_close(NormalizedClsMSE()(student, teacher, None), 2 / 11 * first)


def test_the_cls_loss_leaves_out_sequences_whose_first_position_is_padding():
    student, teacher = states(1), states(2)
    mask = torch.ones(3, 7)
    mask[1, :2] = 0
    kept = NormalizedClsMSE()(student[[0, 2]], teacher[[0, 2]], None)
    torch.testing.assert_close(NormalizedClsMSE()(student, teacher, mask), kept)


@pytest.mark.parametrize("case", [case for case in UNKNOWN_LABEL if case.loss.needs_projection], ids=str)
def test_other_shapes_are_refused_with_both_named(case):
    name = type(case.loss).__name__
    with pytest.raises(UserError, match=rf"{name}.* gives \(3, 7, 8\) and the teacher \(3, 7, 11\); project"):
        case.loss(states(1, (3, 7, 8)), states(2), None)
    with pytest.raises(UserError, match=name):
        case.loss(states(1)[0], states(2)[0], None)


@pytest.mark.parametrize(
    "case", [case for case in UNKNOWN_LABEL + BATCHWISE if not case.loss.needs_projection], ids=str
)
def test_losses_without_projection_take_any_widths_but_only_the_same_tokens(case):
    name = type(case.loss).__name__
    assert case.loss(states(1, (3, 7, 8)), states(2), None).isfinite()
    with pytest.raises(UserError, match=rf"{name} .* gives \(3, 6, 11\) and the teacher \(3, 7, 11\); feed both one"):
        case.loss(states(1, (3, 6, 11)), states(2), None)
    with pytest.raises(UserError, match=name):
        case.loss(states(1)[0], states(2)[0], None)


def test_the_layer_norm_loss_ignores_size_and_offset_and_the_cosine_only_size():
    student, teacher = states(1), states(2)
    moved = 3 * student + torch.arange(21.0).view(3, 7, 1)
    torch.testing.assert_close(LayerNormMSE()(moved, teacher, None), LayerNormMSE()(student, teacher, None))
    assert not torch.isclose(HiddenCosine()(moved, teacher, None), HiddenCosine()(student, teacher, None))
