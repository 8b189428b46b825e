import math

import pytest
import torch

from kdfeatures.errors import ConfigError
from kdfeatures.features import AttentionStates, Features


def states(heads=4, width=6, allowed=None):
    query, key, value = (torch.randn(2, heads, 5, width) for _ in range(3))
    return AttentionStates(query, key, value, 0.5, allowed)


def test_scores_are_scaled_inner_products():
    features = Features()
    features.on_attention(1, states())
    query, key = features.attention[1].query, features.attention[1].key
    expected = 0.5 * torch.einsum("bhid,bhjd->bhij", query, key)
    torch.testing.assert_close(features.attention_scores(1), expected)


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 12])
def test_relation_heads_split_the_concatenated_heads(heads):
    operands = states()
    concatenated = operands.value.transpose(1, 2).reshape(2, 5, 24)
    relation = operands.relation("value", heads)
    width = 24 // heads
    for r in range(heads):
        part = concatenated[..., r * width : (r + 1) * width]
        torch.testing.assert_close(relation.scores()[:, r], part @ part.mT / math.sqrt(width))


def test_relation_keeps_the_models_heads_by_default():
    operands = states()
    assert torch.equal(operands.relation("key").left, operands.key)
    assert operands.relation("key").scale == pytest.approx(1 / math.sqrt(6))


def test_relation_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(ConfigError, match=r"7 does not divide 24 \(4 heads of 6\)"):
        states().relation("query", 7)


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_probabilities_leave_out_what_the_model_may_not_attend_to(kind):
    keep = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    keep[1, ..., 3:] = False
    allowed = keep if kind == "bool" else torch.zeros(2, 1, 5, 5).masked_fill(~keep, torch.finfo(torch.float32).min)
    features = Features()
    features.on_attention(2, states(allowed=allowed))
    probs = features.attention_probs(2)
    assert probs[1, ..., 3:].abs().max() == 0
    torch.testing.assert_close(probs[1, ..., :3], features.attention_scores(2)[1, ..., :3].softmax(-1))
    torch.testing.assert_close(features.relation(2, "value").sum(-1), torch.ones(2, 4, 5))


def test_scores_that_do_not_follow_from_the_operands_are_refused_but_not_the_models_probabilities():
    features = Features()
    used = torch.rand(2, 4, 5, 5)
    features.on_attention(1, states()._replace(positional=True, used=used))
    assert features.attention_probs(1) is used
    with pytest.raises(ConfigError, match="attention scores are not known.*features.attention_probs") as refused:
        features.attention_scores(1)
    assert refused.value.key == "loss.positional"


def test_a_layer_or_module_that_was_not_captured_is_named_with_those_that_were():
    features = Features()
    features.on_hidden(0, torch.zeros(2, 5, 24))
    features.on_hidden("final", torch.zeros(2, 5, 24))
    features.on_module("pooler", torch.zeros(2, 24))
    with pytest.raises(KeyError, match=r"hidden of layer 1 was not captured; captured layers: \[0, 'final'\]"):
        features.hidden[1]
    with pytest.raises(KeyError, match=r"attention of layer 2 was not captured; captured layers: \[\]"):
        features.attention_scores(2)
    with pytest.raises(KeyError, match=r"output of module 'head' was not captured; captured modules: \['pooler'\]"):
        features.modules["head"]


def test_features_print_layers_and_modules_with_shapes_dtype_and_bytes():
    features = Features()
    features.on_attention(2, AttentionStates(*torch.zeros(3, 3, 4, 9, 6), scale=0.5))
    features.on_attention(3, AttentionStates(*torch.zeros(3, 3, 4, 9, 6), scale=0.5, used=torch.zeros(3, 4, 9, 9)))
    features.on_hidden("final", torch.zeros(3, 9, 24))
    features.on_hidden(1, torch.zeros(3, 9, 24, dtype=torch.bfloat16))
    features.on_module("pooler.dense", torch.zeros(3, 24))
    features.on_module("layer.0", (torch.zeros(3, 9, 24), None))
    assert repr(features) == (
        "Features(\n"
        "  hidden 1: (3, 9, 24) bfloat16, 1296 bytes\n"
        "  hidden final: (3, 9, 24) float32, 2592 bytes\n"
        "  attention 2: query, key, value (3, 4, 9, 6) float32, 2592 bytes each\n"
        "  attention 3: query, key, value (3, 4, 9, 6) float32, 2592 bytes each\n"
        "  attention 3: probabilities (3, 4, 9, 9) float32, 3888 bytes\n"
        "  module pooler.dense: (3, 24) float32, 288 bytes\n"
        "  module layer.0: tuple of (3, 9, 24) float32, 2592 bytes; NoneType\n"
        ")"
    )


def test_a_new_pass_begins_with_nothing():
    features = Features()
    features.on_hidden(1, torch.zeros(2, 5, 24))
    features.on_attention(1, states())
    features.on_module("pooler", torch.zeros(2, 24))
    features.clear()
    assert not features.hidden and not features.attention and not features.modules
    assert repr(features) == "Features(empty)"


def test_merged_features_of_several_teachers_can_be_printed():
    features = Features()
    for key in (("b", 1), 2, "final", ("b", 0), 0, ("b", "final")):
        features.hidden[key] = torch.zeros(1, 2, 3)
    lines = [line.split(":")[0].strip() for line in repr(features).splitlines()[1:-1]]
    assert lines == [
        "hidden 0",
        "hidden 2",
        "hidden final",
        "hidden ('b', 0)",
        "hidden ('b', 1)",
        "hidden ('b', 'final')",
    ]
