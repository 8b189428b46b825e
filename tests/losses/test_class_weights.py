import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight

from kdfeatures.errors import ConfigError
from kdfeatures.losses import HardLabel

torch.manual_seed(0)
LABELS = torch.tensor([0, 2, -100, 1, 2, 0])
LOGITS = torch.randn(6, 3, dtype=torch.float64)
WEIGHTS = [0.5, 4.0, 2.0]


def test_every_example_counts_by_the_weight_of_its_class_and_the_mean_is_over_all():
    student = LOGITS.clone().requires_grad_()
    value = HardLabel(class_weights=WEIGHTS)(student, LABELS)
    probabilities = LOGITS.exp() / LOGITS.exp().sum(1, keepdim=True)
    expected = -sum(WEIGHTS[c] * probabilities[n, c].log() for n, c in enumerate(LABELS.tolist()) if c >= 0) / 6
    torch.testing.assert_close(value, expected)
    value.backward()
    # d/dz of w (logsumexp z - z_c) is w (p - onehot)
    gradient = torch.zeros_like(LOGITS)
    for n, c in enumerate(LABELS.tolist()):
        if c >= 0:
            gradient[n] = WEIGHTS[c] * (probabilities[n] - torch.eye(3, dtype=torch.float64)[c]) / 6
    torch.testing.assert_close(student.grad, gradient)


def test_balanced_weights_are_those_of_scikit_learn_and_one_on_average():
    labels = [0] * 70 + [1] * 20 + [2] * 10
    loss = HardLabel(class_weights="balanced")
    loss.balance([70, 20, 10])
    expected = torch.tensor(compute_class_weight("balanced", classes=np.arange(3), y=labels))
    given = torch.tensor(labels)
    logits = torch.randn(100, 3, dtype=torch.float64)
    losses = torch.nn.functional.cross_entropy(logits, given, reduction="none")
    torch.testing.assert_close(loss(logits, given), (losses * expected[given]).mean(), rtol=1e-6, atol=1e-6)
    assert expected[given].mean().item() == pytest.approx(1.0)
    assert not loss.state_dict()  # it follows from the data


def test_equal_weights_are_none():
    torch.testing.assert_close(HardLabel(class_weights=[1.0] * 3)(LOGITS, LABELS), HardLabel()(LOGITS, LABELS))


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda: HardLabel(class_weights="balance"), "is neither numbers nor 'balanced'"),
        (lambda: HardLabel(class_weights=[1.0, -1.0]), "must be 0 or more"),
        (lambda: HardLabel(class_weights=[1.0, float("nan")]), "must be 0 or more"),
        (lambda: HardLabel(class_weights="balanced")(LOGITS, LABELS), "was not given the training labels"),
        (lambda: HardLabel(class_weights=[1.0, 2.0])(LOGITS, LABELS), "has 2 weights, but there are 3 classes"),
        (lambda: HardLabel(class_weights="balanced").balance([3, 0]), "class 1 has none"),
    ],
)
def test_what_weighs_nothing_right_is_refused(call, told):
    with pytest.raises(ConfigError, match=told):
        call()
