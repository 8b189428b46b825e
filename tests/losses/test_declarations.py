"""What `kdfeatures explain` tells of a loss comes from the loss: is it there, and is it so?"""

import copy
import inspect
import pkgutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from support.loss_cases import ATTENTION, BATCHWISE, COMPARING, LOGITS, LOGITS_BATCHWISE, MASKED, UNKNOWN_LABEL

from kdfeatures import losses
from kdfeatures.losses import HardLabel

BASES = ("AttentionLoss", "HiddenLoss", "EmbeddingLoss", "Loss", "FunctionLoss", "as_loss")
LOSSES = [getattr(losses, name) for name in losses.__all__ if name not in BASES]
FILES = sorted((Path(__file__).parents[2] / "conf" / "loss").glob("*.yaml"))
OF_A_TERM = {"weight", "pair_reduction", "mapping", "heads", "teacher", "regression", "multilabel"}
# by file and argument: why the command line has another default than Python
OTHER_DEFAULTS = {
    ("relation_kl", "relation_heads"): "recipes are for students of other head counts than their teacher's, which the "
    "models' own heads, Python's None, cannot compare"
}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_every_loss_can_be_made_without_arguments(loss):
    assert isinstance(loss(), loss)


def test_every_loss_has_a_file_of_its_own():
    targets = [pkgutil.resolve_name(OmegaConf.load(file)["_target_"]) for file in FILES]
    assert len(set(targets)) == len(targets) and set(LOSSES) <= set(targets)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_defaults_of_python_are_those_of_the_command_line(file):
    node = OmegaConf.to_container(OmegaConf.load(file))
    loss = pkgutil.resolve_name(node.pop("_target_"))
    defaults = {
        name: list(parameter.default) if isinstance(parameter.default, tuple) else parameter.default
        for name, parameter in inspect.signature(loss).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    }
    assert node.keys() - defaults.keys() <= OF_A_TERM and defaults.keys() <= node.keys()
    differ = {name for name, default in defaults.items() if (type(default), default) != (type(node[name]), node[name])}
    assert differ == {name for stem, name in OTHER_DEFAULTS if stem == file.stem}


def test_masks_may_be_left_out():
    for loss in LOSSES:
        mask = inspect.signature(loss.forward).parameters.get("mask")
        assert (mask is None) == (loss.inputs not in ("hidden", "flow", "attention"))
        assert mask is None or mask.default is None


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
def test_every_loss_says_how_it_averages_and_what_counts_in_a_few_words(loss):
    for said in (loss.reduction, loss.positions):
        assert 4 < len(said) < 60 and "\n" not in said and said[0].islower()
    assert ("temperature" in inspect.signature(loss).parameters) == hasattr(loss, "temperature_factor")


def repeated(states, dim):
    return [torch.cat([x, x], dim) for x in states]


def values(case, change, mask=None):
    student, teacher = (case.states(side, 4, 5, seed) for side, seed in (("student", 1), ("teacher", 2)))
    return case.value(student, teacher, mask), case.value(change(student), change(teacher), mask)


WITH_TEMPERATURE = [
    case
    for case in (*LOGITS, *LOGITS_BATCHWISE)
    if hasattr(case.loss, "temperature") and case.name != "dist of a regression"
]


@pytest.mark.parametrize("case", WITH_TEMPERATURE, ids=str)
def test_the_factor_of_a_temperature_is_the_one_it_says(case):
    one, other = (copy.copy(case.loss) for _ in range(2))
    one.temperature, other.temperature = 1.0, 3.0
    student, teacher = case.states("student", 6, 0, 1)[0], case.states("teacher", 6, 0, 2)[0]
    labels = (torch.arange(6) % student.shape[1],) if "labels" in case.loss.inputs else ()
    factor = {"T^2": 9.0, "1": 1.0}[case.loss.temperature_factor]
    torch.testing.assert_close(other(3 * student, 3 * teacher, *labels), factor * one(student, teacher, *labels))


@pytest.mark.parametrize("case", COMPARING, ids=str)
def test_a_mean_over_texts_does_not_grow_with_their_number(case):
    value, twice = values(case, lambda states: repeated(states, 0))
    if "mean over" in case.loss.reduction and case not in BATCHWISE:
        torch.testing.assert_close(value, twice)
    if case in BATCHWISE and "mean" in case.loss.reduction:
        assert "B (B - 1)" in case.loss.reduction and not torch.isclose(value, twice)


@pytest.mark.parametrize("case", [case for case in ATTENTION if "over H" in case.loss.reduction], ids=str)
def test_a_mean_over_heads_does_not_grow_with_their_number(case):
    torch.testing.assert_close(*values(case, lambda states: repeated(states, 1)))


@pytest.mark.parametrize("case", [case for case in UNKNOWN_LABEL if "over D, L" in case.loss.reduction], ids=str)
@pytest.mark.parametrize("dim", [1, 2], ids=["tokens", "width"])
def test_a_mean_over_tokens_or_width_does_not_grow_with_their_number(case, dim):
    torch.testing.assert_close(*values(case, lambda states: repeated(states, dim)))


@pytest.mark.parametrize("case", MASKED, ids=str)
def test_only_the_positions_that_a_loss_says_it_counts_do(case):
    student, teacher = (case.states(side, 4, 5, seed) for side, seed in (("student", 1), ("teacher", 2)))
    mask = torch.tensor([[1, 1, 1, 1, 0]] * 4)
    value = case.value(student, teacher, mask)
    random = torch.Generator().manual_seed(3)
    counted = []
    for position in range(5):
        changed = [x.clone() for x in student]
        for x in changed:
            place = x[..., position, :]
            place.copy_(torch.randn(place.shape, generator=random, dtype=x.dtype))
        counted.append(not torch.isclose(case.value(changed, teacher, mask), value, rtol=1e-9, atol=0))
    only_cls = getattr(case.loss, "pool", None) == "cls" or case.loss.positions.startswith("position 0")
    assert counted == [True, *[not only_cls] * 3, False]
    assert "real tokens" in case.loss.positions or only_cls


@pytest.mark.parametrize("loss", [HardLabel(), *(case.loss for case in LOGITS)], ids=lambda loss: type(loss).__name__)
def test_texts_without_a_label_count_where_the_loss_says_all_texts(loss):
    student, teacher = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = torch.tensor([1, -100, 2])

    def value(student):
        given = {"labels": (labels,), "logits": (teacher,), "logits, labels": (teacher, labels)}[loss.inputs]
        return loss(student, *given)

    other = student.clone()
    other[1] = student[1].flip(0)
    changes = not torch.isclose(value(other), value(student))
    assert changes == (loss.positions == "all texts")
    assert loss.positions in ("all texts", "texts with a label")
