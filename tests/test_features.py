import math

import pytest
import torch
from support.tiny import tiny_batch, tiny_classifier

from kdfeatures.capture.context import capture
from kdfeatures.features import AttentionStates, Features


def states(heads=4, width=6, allowed=None):
    query, key, value = (torch.randn(2, heads, 5, width) for _ in range(3))
    return AttentionStates(query, key, value, 0.5, allowed)


def test_scores_are_scaled_inner_products():
    features = Features()
    features.attention[1] = states()
    query, key = features.attention[1].query, features.attention[1].key
    expected = 0.5 * torch.einsum("bhid,bhjd->bhij", query, key)
    torch.testing.assert_close(features.scores(1), expected)


@pytest.mark.parametrize("heads", [1, 2, 3, 4, 12])
def test_relation_heads_split_the_concatenated_heads(heads):
    own = states()
    concatenated = own.value.transpose(1, 2).reshape(2, 5, 24)
    relation = own.relation("value", heads)
    width = 24 // heads
    for r in range(heads):
        part = concatenated[..., r * width : (r + 1) * width]
        torch.testing.assert_close(relation.scores()[:, r], part @ part.mT / math.sqrt(width))


def test_relation_keeps_the_models_heads_by_default():
    own = states()
    assert torch.equal(own.relation("key").left, own.key)
    assert own.relation("key").scale == pytest.approx(1 / math.sqrt(6))


def test_relation_heads_that_do_not_divide_the_width_are_named():
    with pytest.raises(ValueError, match=r"7 does not divide 24 \(4 heads of 6\)"):
        states().relation("query", 7)


@pytest.mark.parametrize("kind", ["bool", "float"])
def test_probabilities_leave_out_what_the_model_may_not_attend_to(kind):
    keep = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    keep[1, ..., 3:] = False
    allowed = keep if kind == "bool" else torch.zeros(2, 1, 5, 5).masked_fill(~keep, torch.finfo(torch.float32).min)
    features = Features()
    features.attention[2] = states(allowed=allowed)
    found = features.probabilities(2)
    assert found[1, ..., 3:].abs().max() == 0
    torch.testing.assert_close(found[1, ..., :3], features.scores(2)[1, ..., :3].softmax(-1))
    torch.testing.assert_close(features.relation(2, "value").sum(-1), torch.ones(2, 4, 5))


def test_a_layer_that_was_not_captured_is_named_with_those_that_were():
    model = tiny_classifier()
    with capture(model, hidden=[0, 2]) as features:
        model(**tiny_batch())
    with pytest.raises(KeyError, match=r"hidden of layer 1 was not captured; captured layers: \[0, 2\]"):
        features.hidden[1]
    with pytest.raises(KeyError, match=r"attention of layer 2 was not captured; captured layers: \[\]"):
        features.scores(2)


def test_features_print_layers_shapes_dtype_and_bytes():
    model = tiny_classifier()
    with capture(model, hidden=[0], attention=[2]) as features:
        model(**tiny_batch())
    assert repr(features) == (
        "Features(\n"
        "  hidden 0: (3, 9, 24) float32, 2592 bytes\n"
        "  attention 2: query, key, value (3, 4, 9, 6) float32, 2592 bytes each\n"
        ")"
    )
    assert repr(Features()) == "Features(empty)"


def test_features_print_probabilities_that_the_model_computed_and_the_final_output():
    model = tiny_classifier("mpnet")
    with capture(model, hidden=["final", 1], attention=[3]) as features:
        model(**tiny_batch())
    assert repr(features) == (
        "Features(\n"
        "  hidden 1: (3, 9, 24) float32, 2592 bytes\n"
        "  hidden final: (3, 9, 24) float32, 2592 bytes\n"
        "  attention 3: query, key, value (3, 4, 9, 6) float32, 2592 bytes each\n"
        "  attention 3: probabilities (3, 4, 9, 9) float32, 3888 bytes\n"
        ")"
    )
