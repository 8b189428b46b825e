import pytest
import torch

from kdfeatures.losses import BinaryKD, HardLabel
from kdfeatures.losses.ensemble import averaged

LOGITS = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_it_is_zero_at_the_teacher_and_finite_far_away():
    assert BinaryKD()(LOGITS[0], LOGITS[0]).item() == pytest.approx(0, abs=1e-12)
    student = torch.full((1, 2), -1e4, requires_grad=True)
    value = BinaryKD(temperature=1.0)(student, torch.full((1, 2), 1e4))
    value.backward()
    assert value.item() == pytest.approx(1e4) and torch.isfinite(student.grad).all()


def test_the_gradient_keeps_its_size_with_the_temperature():
    def gradient(temperature):
        student = (0.01 * LOGITS[0]).requires_grad_()
        return torch.autograd.grad(BinaryKD(temperature=temperature)(student, 0.01 * LOGITS[1]), student)[0]

    torch.testing.assert_close(gradient(1.0), gradient(8.0), rtol=1e-3, atol=1e-7)


def test_with_labels_as_the_teacher_it_is_the_hard_label_loss_up_to_their_entropy():
    student = LOGITS[0].clone().requires_grad_()
    labels = LOGITS[1].sigmoid()
    of_teacher = torch.autograd.grad(BinaryKD(temperature=1.0)(student, LOGITS[1]), student)
    of_labels = torch.autograd.grad(HardLabel()(student, labels), student)
    torch.testing.assert_close(of_teacher, of_labels)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_of_several_teachers_the_probabilities_are_averaged(temperature):
    shares = torch.tensor([0.25, 0.75], dtype=torch.float64)
    joint = averaged(LOGITS, shares, temperature, independent=True)
    expected = 0.25 * (LOGITS[0] / temperature).sigmoid() + 0.75 * (LOGITS[1] / temperature).sigmoid()
    torch.testing.assert_close((joint / temperature).sigmoid(), expected)
    far = averaged(torch.tensor([[[900.0]], [[-900.0]]]), torch.tensor([0.5, 0.5]), 1.0, independent=True)
    assert far.item() == pytest.approx(0, abs=1e-4)


class TestHardLabels:
    """HardLabel with a label for each output."""

    labels = torch.tensor([[1.0, 0, 0, 1], [0, 0, 0, 0], [float("nan")] * 4], dtype=torch.float64)

    def test_hidden_ones_count_as_nothing_and_the_mean_is_over_all(self):
        known = torch.nn.functional.binary_cross_entropy_with_logits(LOGITS[0, :2], self.labels[:2], reduction="sum")
        torch.testing.assert_close(HardLabel()(LOGITS[0], self.labels), known / 12)

    def test_weights_are_those_of_the_true_ones(self):
        weights = [1.0, 2.0, 3.0, 4.0]
        expected = torch.nn.functional.binary_cross_entropy_with_logits(
            LOGITS[0, :2], self.labels[:2], pos_weight=torch.tensor(weights, dtype=torch.float64), reduction="sum"
        )
        torch.testing.assert_close(HardLabel(class_weights=weights)(LOGITS[0], self.labels), expected / 12)

    def test_balanced_is_how_rare_a_label_is(self):
        loss = HardLabel(class_weights="balanced")
        loss.balance([5, 1, 2, 10], examples=20)
        assert loss._weights.tolist() == [3.0, 19.0, 9.0, 1.0]
