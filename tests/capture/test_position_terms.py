"""Encoders that add position terms to q k': their scores, held against the probabilities that they compute."""

import copy

import pytest
import torch
from support.tiny import decided, dropping, tiny_batch, tiny_classifier

from kdfeatures.capture.context import capture
from kdfeatures.errors import UserError

VARIANTS = {
    "mpnet": {},
    "deberta": {},
    "deberta c2p": {"pos_att_type": ["c2p"]},
    "deberta-v2": {},
    "deberta-v2 p2c, keys of its own": {"pos_att_type": ["p2c"], "share_att_key": False},
    "deberta-v2 without buckets": {"position_buckets": -1, "max_relative_positions": 7, "conv_kernel_size": 0},
}


def model_of(variant):
    torch.manual_seed(0)
    return decided(tiny_classifier(variant.split()[0], **VARIANTS[variant]))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_softmax_of_the_scores_is_what_the_model_computed(variant):
    model, batch = model_of(variant), tiny_batch((9, 5, 7))
    with capture(model, attention=[1, 2, 3]) as features:
        expected = model(**batch, output_attentions=True).attentions
    real = batch["attention_mask"].bool()
    for layer in (1, 2, 3):
        scores = features.attention_scores(layer).masked_fill(~real[:, None, None], -torch.inf)
        for row in range(3):
            own = scores[row, :, real[row]].softmax(-1)
            torch.testing.assert_close(own, expected[layer - 1][row, :, real[row]], atol=1e-5, rtol=1e-4)
        states = features.attention[layer]
        without = states._replace(bias=None).attention.scores()
        assert (without - features.attention_scores(layer)).abs().max() > 0.1


def test_mpnets_bias_is_one_for_all_texts_and_layers():
    model = model_of("mpnet")
    with capture(model, attention=[1, 3]) as features:
        model(**tiny_batch((9, 5, 7)))
    first, last = (features.attention[layer].bias for layer in (1, 3))
    assert first.shape == (1, 4, 9, 9) and first.data_ptr() == last.data_ptr()


def test_a_model_keeps_its_method_and_a_copy_does_not_write_into_the_recorder():
    model, batch = model_of("deberta-v2"), tiny_batch()
    module = model.base_model.encoder.layer[0].attention.self
    before = model(**batch).logits
    with capture(model, attention=[1]) as outer:
        with capture(model, attention=[1]) as inner:
            copied = copy.deepcopy(model)
            assert torch.equal(model(**batch).logits, before)
        copied(**tiny_batch((3, 3)))
        assert torch.equal(outer.attention[1].bias, inner.attention[1].bias)
    assert "disentangled_attention_bias" not in vars(module)
    inside = vars(copied.base_model.encoder.layer[0].attention.self).get("disentangled_attention_bias")
    assert inside is None or inside.module is copied.base_model.encoder.layer[0].attention.self
    assert torch.equal(copied(**batch).logits, before)


def test_what_dropout_of_position_embeddings_left_is_what_is_noted():
    model = dropping("deberta-v2", hidden=0.5, attention=0.0).train()
    torch.manual_seed(3)
    with capture(model, attention=[2]) as features:
        model(**tiny_batch((6, 6)))
    torch.testing.assert_close(
        features.attention_scores(2).softmax(-1), features.attention[2].used, atol=1e-5, rtol=1e-4
    )


def test_heads_that_are_mixed_before_the_softmax_are_refused():
    model = tiny_classifier("deberta", talking_head=True)
    with capture(model, attention=[1]) as features:
        model(**tiny_batch())
    with pytest.raises(UserError, match="attention scores are not known"):
        features.attention_scores(1)


@pytest.mark.parametrize("family", ["deberta-v2"])
@pytest.mark.parametrize("terms", [[], None])
def test_a_model_that_adds_no_term_after_all_has_no_bias(family, terms):
    model = tiny_classifier(family, pos_att_type=terms, share_att_key=False)
    with capture(model, attention=[1]) as features:
        model(**tiny_batch((6, 6)))
    assert features.attention[1].bias is None
    torch.testing.assert_close(features.attention_scores(1).softmax(-1), features.attention[1].used)
