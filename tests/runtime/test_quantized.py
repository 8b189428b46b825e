"""Teachers whose linear maps are int8: captured, hashed and counted as any other."""

import copy

import pytest
import torch
from support.runs_for_tests import small_distiller
from support.tiny import tiny_batch, tiny_classifier
from torch import nn

from kdfeatures.cache.key import weights_hash
from kdfeatures.capture.context import capture
from kdfeatures.errors import ConfigError, UserError
from kdfeatures.models.load import parameter_count
from kdfeatures.models.teachers import make_ready
from kdfeatures.runtime import quantized


def in_int8(model):
    return make_ready(copy.deepcopy(model), dtype="int8", compiled=False)


def error(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet", "deberta-v2", "modernbert", "electra"])
@torch.no_grad()
def test_features_are_those_of_the_float_model_but_for_rounding(family):
    model, batch = tiny_classifier(family).eval(), tiny_batch()
    rounded = in_int8(model)
    assert not any(type(module) is nn.Linear for module in rounded.modules())
    with capture(model, hidden=[0, 2, 3], attention=[2]) as expected:
        logits = model(**batch).logits
    with capture(rounded, hidden=[0, 2, 3], attention=[2]) as found:
        assert 0 < error(rounded(**batch).logits, logits) < 0.2
    for layer in (0, 2, 3):
        assert 0 <= error(found.hidden[layer], expected.hidden[layer]) < 0.05
    for operand in ("query", "key", "value"):
        states = (getattr(features.attention[2], operand) for features in (found, expected))
        assert 0 < error(*states) < 0.1


def test_its_parameters_are_counted_as_those_of_the_float_model():
    model = tiny_classifier()
    assert parameter_count(in_int8(model)) == parameter_count(model)


def test_its_hash_is_of_its_weights():
    model = tiny_classifier()
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.bert.encoder.layer[1].intermediate.dense.weight[0, 0] += 1.0
    hashes = [weights_hash(of) for of in (model, in_int8(model), in_int8(model), in_int8(other))]
    assert hashes[1] == hashes[2] and len(set(hashes)) == 3
    bias = copy.deepcopy(model)
    with torch.no_grad():
        bias.classifier.bias[0] += 0.5
    assert weights_hash(in_int8(bias)) != hashes[1]


def test_the_students_gradient_is_nearly_that_of_the_float_teacher():
    distiller, batch = small_distiller().train(), tiny_batch() | {"labels": torch.tensor([0, 1, 1])}
    quantizing = copy.deepcopy(distiller.teacher)

    def gradient():
        distiller.zero_grad()
        distiller(**batch).loss.backward()
        return torch.cat([parameter.grad.flatten() for parameter in distiller.student.parameters()])

    exact = gradient()
    distiller.teacher.load_state_dict(quantizing.state_dict())
    make_ready(distiller.teacher, dtype="int8", compiled=False)
    assert 0 < error(gradient(), exact) < 0.05


def test_on_a_machine_with_a_gpu_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(ConfigError, match="runs on CPUs only, but there is a GPU"):
        make_ready(tiny_classifier(), dtype="int8", compiled=False)


def test_a_torch_without_it_is_told(monkeypatch):
    monkeypatch.setattr(quantized, "_library", lambda: None)
    with pytest.raises(ConfigError, match="does not have"):
        make_ready(tiny_classifier(), dtype="int8", compiled=False)


def test_another_word_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="choose from float32, bfloat16, float16, int8"):
        make_ready(tiny_classifier(), dtype="int4", compiled=False)
