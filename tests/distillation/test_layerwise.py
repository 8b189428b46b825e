"""What LayerwiseLosses adds to losses: pairs compared as they arrive, gradients kept, the teacher's layers dropped."""

import weakref

import pytest
import torch
from support.runs_for_tests import PAIRS, small_distiller
from support.tiny import tiny_batch
from torch import nn

from kdfeatures.distillation.bound import BoundObjective
from kdfeatures.distillation.term import BoundTerm
from kdfeatures.features import Features
from kdfeatures.losses import HiddenMSE
from kdfeatures.losses.kernels.precomputed_gradients import with_precomputed_gradients
from kdfeatures.mapping.pairs import LayerPair


def mixing(states, scale):
    return (states.sin() * scale).square().mean()


@pytest.mark.parametrize("upstream", [1.0, 0.25])
def test_known_gradients_are_those_of_the_plain_call(upstream):
    states, scale, unused = (torch.randn(3, 4, requires_grad=True) for _ in range(3))
    inputs = [states, scale]
    plain = torch.autograd.grad(upstream * mixing(states, scale), inputs)
    value = with_precomputed_gradients(lambda x: mixing(x, scale), [states], [scale, unused])
    torch.testing.assert_close(value, mixing(states, scale))
    torch.testing.assert_close(torch.autograd.grad(upstream * value, inputs), plain)


def test_what_the_loss_computes_in_between_is_freed_at_once():
    kept = []

    def loss(states):
        between = states.exp()
        kept.append(weakref.ref(between))
        return between.square().sum()

    value = with_precomputed_gradients(loss, [torch.randn(5, requires_grad=True)], [])
    assert value.requires_grad and kept[0]() is None


def test_small_float16_gradients_survive_until_they_are_scaled():
    states = torch.ones(4, dtype=torch.float16, requires_grad=True)
    value = with_precomputed_gradients(lambda x: 1e-9 * x.sum(), [states], [])
    (2.0**20 * value).backward()
    torch.testing.assert_close(states.grad, torch.full_like(states, 1e-9 * 2**20))


def test_without_gradients_only_the_value_is_computed():
    states = torch.randn(4)
    assert not with_precomputed_gradients(lambda x: x.square().sum(), [states], []).requires_grad


def test_a_teacher_layer_is_dropped_after_its_last_pair():
    pairs = (LayerPair(0, 1), LayerPair(1, 1), LayerPair(2, 3))
    teacher = Features()
    for layer in (1, 3):
        teacher.hidden[layer] = torch.randn(2, 5, 4)
    objective = BoundObjective({"hidden": BoundTerm(HiddenMSE(), 1.0, pairs)}, _Unprojected())
    losses = objective.layerwise(teacher, torch.ones(2, 5))
    alive = {layer: weakref.ref(tensor) for layer, tensor in teacher.hidden.items()}
    teacher.clear()
    for layer, left in ((0, {1, 3}), (1, {3}), (2, set())):
        losses.on_hidden(layer, torch.randn(2, 5, 4, requires_grad=True))
        assert {number for number, tensor in alive.items() if tensor() is not None} == left
    assert len(losses.values_of("hidden", objective.terms["hidden"])) == len(pairs)


def test_nothing_of_the_teacher_is_left_when_the_student_has_run():
    distiller, seen = small_distiller().train(), []
    layers = distiller.teacher.bert.encoder.layer
    handle = layers[PAIRS[1].teacher - 1].register_forward_hook(lambda *call: seen.append(weakref.ref(call[2])))
    loss = distiller(**tiny_batch(), labels=torch.tensor([0, 1, 1])).loss
    handle.remove()
    assert loss.requires_grad and seen[0]() is None


class _Unprojected(nn.Module):
    def forward(self, pair, student, teacher):
        return student, teacher
