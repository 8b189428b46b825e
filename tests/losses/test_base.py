from functools import partial

import pytest
import torch
from torch import nn

from kdfeatures.errors import ConfigError
from kdfeatures.features import OPERANDS
from kdfeatures.losses import AttentionKL, FunctionLoss, HiddenMSE, as_loss
from kdfeatures.losses.base import INPUTS


def remembered(*arguments):
    remembered.arguments = arguments
    return torch.tensor(1.0)


def scaled(student, teacher, mask=None, factor=2):
    return factor * (student - teacher).abs().mean()


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, student, teacher, mask):
        return self.scale * (student - teacher).square().mean()


@pytest.mark.parametrize("inputs", INPUTS)
def test_a_function_is_called_with_what_a_loss_of_its_inputs_is(inputs):
    loss = FunctionLoss(remembered, inputs=inputs)
    assert loss("student", "teacher") == 1
    two = inputs in ("logits", "labels")
    assert remembered.arguments == (("student", "teacher") if two else ("student", "teacher", None))
    if not two:
        loss("student", "teacher", "third")
        assert remembered.arguments == ("student", "teacher", "third")


def test_the_parameters_of_a_module_are_trained_with_it():
    loss = as_loss(Learned())
    assert [name for name, _ in loss.named_parameters()] == ["function.scale"]
    loss(torch.ones(1, 2, 3), torch.zeros(1, 2, 3)).backward()
    assert loss.function.scale.grad == 1
    assert loss.state_dict() == {"function.scale": 2.0}


@pytest.mark.parametrize(
    ("function", "name"), [(scaled, "scaled"), (partial(scaled, factor=2), "scaled"), (Learned(), "Learned")]
)
def test_a_function_loss_is_called_what_the_function_is(function, name):
    loss = FunctionLoss(function, inputs="flow")
    assert loss.name == name and repr(loss) == f"FunctionLoss({name}, inputs='flow')"
    assert FunctionLoss(function, name="mine").name == "mine"


def test_a_function_loss_says_what_other_losses_do():
    loss = FunctionLoss(scaled, inputs="logits", needs_projection=False, target_temperature=2.0)
    assert loss.reduction == loss.positions == "as the function does"
    assert (loss.inputs, loss.needs_projection, loss.target_temperature) == ("logits", False, 2.0)
    assert FunctionLoss(scaled).needs_projection and FunctionLoss(scaled).target_temperature is None


def test_a_function_of_attention_may_compare_any_heads():
    loss = FunctionLoss(scaled, inputs="attention")
    loss.check(4, 312, 12, 768)
    assert loss.operands == OPERANDS and loss.compares_scores and loss.compared_heads(12) == 12
    assert {name for name in dir(AttentionKL()) if not name.startswith("_")} - set(dir(loss)) == {"check_states"}


def test_what_says_its_inputs_is_a_loss_as_it_is():
    loss = HiddenMSE()
    assert as_loss(loss) is loss
    assert isinstance(as_loss(scaled), FunctionLoss) and as_loss(scaled).function is scaled


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: FunctionLoss(scaled, inputs="hiden"), "inputs=hiden is unknown; did you mean 'hidden'"),
        (lambda: FunctionLoss("hidden_mse"), "function='hidden_mse' cannot be called"),
        (lambda: FunctionLoss(Learned), "function=Learned is a class"),
        (lambda: FunctionLoss(scaled, target_temperature=0), "target_temperature=0 must be a finite number above 0"),
        (lambda: as_loss(HiddenMSE), "loss=HiddenMSE is a class; give one: HiddenMSE"),
        (lambda: as_loss(None), "function=None cannot be called"),
    ],
)
def test_what_cannot_be_a_loss_is_refused(wrong, message):
    with pytest.raises(ConfigError, match=message):
        wrong()
