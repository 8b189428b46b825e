import pytest
import torch

from kdfeatures.distillation import GradientBalancer, Linear, Mixup, Objective, Term
from kdfeatures.errors import ConfigError
from kdfeatures.losses import DIST, HardLabel, HiddenMSE, LogitKD, SoftCrossEntropy


def test_shares_are_drawn_from_torchs_own_generator():
    torch.manual_seed(3)
    first = [Mixup(alpha=1.0).draw() for _ in range(2000)]
    torch.manual_seed(3)
    assert first == [Mixup(alpha=1.0).draw() for _ in range(2000)]
    drawn = torch.tensor(first)
    # of a uniform b, max(b, 1 - b) is uniform between a half and one
    assert 0.5 <= drawn.min() and drawn.max() <= 1
    assert drawn.mean() == pytest.approx(0.75, abs=0.01)
    assert drawn.std() == pytest.approx(0.5 / 12**0.5, abs=0.01)


def test_small_alphas_leave_texts_almost_as_they_are():
    torch.manual_seed(3)
    means = [sum(Mixup(alpha=alpha).draw() for _ in range(500)) / 500 for alpha in (0.1, 1.0, 10.0)]
    assert means[0] > 0.9 > means[1] > 0.7 > means[2] > 0.5


@pytest.mark.parametrize("alpha", [0.0, -1.0, float("inf"), float("nan"), "much", True])
def test_an_alpha_that_cannot_be_is_refused(alpha):
    with pytest.raises(ConfigError, match="alpha=.* must be a finite number above 0"):
        Mixup(alpha=alpha)


@pytest.mark.parametrize("weight", [-0.1, float("inf"), float("nan"), "much", Linear(0.0, -1.0)])
def test_a_weight_that_cannot_be_is_refused(weight):
    with pytest.raises(ConfigError, match="consistency=.* must be a finite number that is not negative"):
        Mixup(consistency=weight)


@pytest.mark.parametrize("loss", [HardLabel(), DIST()])
def test_terms_that_read_labels_are_refused(loss):
    terms = {"hidden": HiddenMSE(), "bad": Term(loss)}
    if loss.inputs == "logits":
        Objective(terms, mixup=Mixup())
        return
    with pytest.raises(ConfigError, match="the term 'bad' is HardLabel, which reads labels"):
        Objective(terms, mixup=Mixup())


def test_consistency_needs_terms_on_layers_that_have_other_names_and_weights_of_their_own():
    consistent = Mixup(consistency=Linear(0.0, 0.1))
    with pytest.raises(ConfigError, match="there is none"):
        Objective(logits=LogitKD(), mixup=consistent)
    Objective(logits=LogitKD(), mixup=Mixup())
    with pytest.raises(ConfigError, match="under which that of mixup is logged"):
        Objective(consistency=HiddenMSE(), mixup=consistent)
    with pytest.raises(ConfigError, match="know the terms alone"):
        Objective(hidden=HiddenMSE(), logits=LogitKD(), balance=GradientBalancer(), mixup=consistent)


def test_a_changed_objective_keeps_its_mixup():
    objective = Objective(hidden=HiddenMSE(), mixup=Mixup(alpha=0.4)).replace(logits=SoftCrossEntropy())
    assert objective.mixup == Mixup(alpha=0.4)
