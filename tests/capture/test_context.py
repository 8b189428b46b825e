import pytest
import torch
from support.attachments import attached
from support.tiny import tiny_batch, tiny_classifier

from kdfeatures.capture.context import Recorder, capture
from kdfeatures.capture.dispatch import IMPLEMENTATION
from kdfeatures.capture.families import encoder_of
from kdfeatures.errors import UserError
from kdfeatures.features import Features


def test_gradients_flow_through_captured_features_to_the_weights_below():
    model, batch = tiny_classifier(), tiny_batch()
    with capture(model, hidden=[2], attention=[2]) as features:
        model(**batch)
    features.hidden[2].sum().backward()
    layers = encoder_of(model).layers
    assert all(p.grad is not None for p in layers[1].output.parameters())
    assert all(p.grad is None for p in layers[2].parameters())


def test_layers_that_are_not_asked_for_keep_their_module_untouched():
    model = tiny_classifier()
    with capture(model, attention=[2]):
        implementations = [module.config._attn_implementation for module in encoder_of(model).attention]
        assert implementations == ["sdpa", IMPLEMENTATION, "sdpa"]
        assert model.config._attn_implementation == "sdpa"
        hooked = [len(layer._forward_hooks) for layer in encoder_of(model).layers]
        assert hooked == [0, 0, 0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"hidden": [4]}, "hidden states of layer 4: this model has layers 0 to 3"),
        ({"attention": [0]}, "attention of layer 0: this model has layers 1 to 3; layer 0, the embeddings"),
        ({"attention": [1, -1]}, "attention of layer -1"),
        ({"attention": ["final"]}, "attention of layer final"),
        ({"hidden": ["last"]}, "hidden states of layer last"),
        ({"hidden": [1.5]}, "hidden states of layer 1.5"),
    ],
)
def test_a_layer_that_does_not_exist_is_refused_before_anything_is_attached(asked, message):
    model = tiny_classifier()
    with pytest.raises(UserError, match=message), capture(model, **asked):
        pass
    assert attached(model) == 0


def test_each_forward_pass_replaces_the_features_of_the_last():
    model = tiny_classifier()
    with capture(model, hidden=[1], attention=[1]) as features:
        model(**tiny_batch((9, 5)))
        model(**tiny_batch((4, 3, 2)))
    assert features.hidden[1].shape[:2] == (3, 4)
    assert features.attention[1].query.shape == (3, 4, 4, 6)


def test_captures_of_one_model_nest_in_any_order_of_exit():
    model, batch = tiny_classifier(), tiny_batch()
    outer, inner = (Recorder(model, hidden=[1], attention=[1]) for _ in range(2))
    outer.attach()
    inner.attach()
    first, second, third = Features(), Features(), Features()
    with outer.recording(first), inner.recording(second):
        model(**batch)
    assert torch.equal(first.hidden[1], second.hidden[1])
    assert torch.equal(first.attention[1].key, second.attention[1].key)
    outer.detach()
    with inner.recording(third):
        model(**batch)
    assert torch.equal(first.attention[1].key, third.attention[1].key)
    inner.detach()
    assert attached(model) == 0


def test_outside_recording_an_attached_recorder_keeps_nothing():
    model, batch = tiny_classifier(), tiny_batch()
    recorder = Recorder(model, hidden=[1], attention=[1])
    recorder.attach()
    features = Features()
    with recorder.recording(features):
        pass
    model(**batch)
    assert not features.hidden and not features.attention
    with pytest.raises(RuntimeError, match="already attached"):
        recorder.attach()
