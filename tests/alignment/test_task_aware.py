"""Filters behind the layers of both models: their shapes, what is trained, and that they are not used before."""

import pytest
import torch
from torch import nn

from kdfeatures.alignment import ProjectionsByTeacher, TaskAwareProjections
from kdfeatures.alignment.task_aware import check_fitted
from kdfeatures.errors import ConfigError
from kdfeatures.mapping import LayerPair

PAIRS = [LayerPair(1, 2), LayerPair(2, 4), LayerPair(2, 6)]
NARROW, WIDE = 6, 10


def linears(layers, width, seed):
    torch.manual_seed(seed)
    return {layer: nn.Linear(width, WIDE) for layer in layers}


def fitted():
    projections = TaskAwareProjections(PAIRS, NARROW, WIDE)
    learned = linears([1, 2], NARROW, 1), linears([2, 4, 6], WIDE, 2)
    projections.fit(*learned)
    return projections, *learned


def states(width):
    return torch.randn(3, 5, width, generator=torch.Generator().manual_seed(width))


def test_each_layer_has_a_filter_to_the_teachers_width_which_the_pairs_share():
    projections, of_student, of_teacher = fitted()
    for pair in PAIRS:
        student, teacher = projections(pair, states(NARROW), states(WIDE))
        torch.testing.assert_close(student, of_student[pair.student](states(NARROW)))
        torch.testing.assert_close(teacher, of_teacher[pair.teacher](states(WIDE)))
        assert student.shape == teacher.shape == (3, 5, WIDE)


def test_the_students_filters_are_trained_and_the_teachers_are_not():
    projections, *_ = fitted()
    student, teacher = projections(PAIRS[0], states(NARROW), states(WIDE))
    (student - teacher).square().mean().backward()
    trained = {name for name, parameter in projections.named_parameters() if parameter.grad is not None}
    assert trained == {"student.1.weight", "student.1.bias"}
    assert {name for name, parameter in projections.named_parameters() if not parameter.requires_grad} == {
        f"teacher.{layer}.{part}" for layer in (2, 4, 6) for part in ("weight", "bias")
    }


def test_filters_that_have_learned_nothing_are_refused():
    projections = TaskAwareProjections(PAIRS, NARROW, WIDE)
    with pytest.raises(ConfigError, match="have not learned the task yet"):
        check_fitted(projections)
    with pytest.raises(ConfigError, match="have not learned the task yet"):
        check_fitted(ProjectionsByTeacher({"a": fitted()[0], "b": projections}))
    check_fitted(ProjectionsByTeacher({"a": fitted()[0], "b": nn.Identity()}))


def test_saved_filters_count_as_learned():
    projections, *_ = fitted()
    again = TaskAwareProjections(PAIRS, NARROW, WIDE)
    again.load_state_dict(projections.state_dict())
    check_fitted(again)
    for one, other in zip(*(x(PAIRS[2], states(NARROW), states(WIDE)) for x in (again, projections)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": 3.0}])
def test_settings_that_cannot_be_are_named(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError) as error:
        TaskAwareProjections(PAIRS, NARROW, WIDE, **wrong)
    assert name in str(error.value) and str(value) in str(error.value)
