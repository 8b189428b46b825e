import copy

import pytest
import torch
from support.tiny import tiny_batch, tiny_classifier, undropped

from kdfeatures.capture.context import capture
from kdfeatures.capture.families import FAMILIES, encoder_of
from kdfeatures.capture.locate import locate_encoder
from kdfeatures.capture.mixing import InputMixer, with_partner
from kdfeatures.capture.recorder import Recorder
from kdfeatures.errors import ConfigError
from kdfeatures.features import Features


def hands_embeddings_on(model):
    parts = encoder_of(locate_encoder(model, None))
    return parts.outputs[0] is not parts.layers[0]


@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_a_text_without_a_share_leaves_its_place_to_its_partner(family):
    """Nothing of a model sees the embeddings but through its first layer."""
    model, batch = undropped(family), tiny_batch((8, 8, 8))
    if hands_embeddings_on(model):
        with pytest.raises(ConfigError, match="hands its embeddings past the first layer"):
            InputMixer(model)
        return
    expected = model(**batch).logits
    mixer = InputMixer(model)
    with mixer.mixing(0.0):
        torch.testing.assert_close(model(**batch).logits, expected.flip(0))
    with mixer.mixing(1.0):
        torch.testing.assert_close(model(**batch).logits, expected)
    assert torch.equal(model(**batch).logits, expected)


@pytest.mark.parametrize("family", ["bert", "albert", "distilbert", "modernbert"])
@torch.no_grad()
def test_the_first_layer_takes_the_mixed_embeddings_once(family):
    model, batch = undropped(family), tiny_batch((6, 6, 6))
    with capture(model, hidden=[0]) as plain:
        model(**batch)
    mixer, recorder, mixed = InputMixer(model), Recorder(model, hidden=[0, 1, 2, 3]), Features()
    recorder.attach()
    for _ in range(2):
        with mixer.mixing(0.75), recorder.recording(mixed):
            model(**batch)
        states = plain.hidden[0]
        expected = torch.stack([0.75 * states[row] + 0.25 * states[2 - row] for row in range(3)])
        torch.testing.assert_close(mixed.hidden[0], expected)
    if family in ("bert", "albert"):  # whose layers need no more than their input
        for n, layer in enumerate(encoder_of(locate_encoder(model, None)).layers):
            output = layer(mixed.hidden[n])
            torch.testing.assert_close(mixed.hidden[n + 1], output[0] if isinstance(output, tuple) else output)


@torch.no_grad()
def test_what_is_detached_or_copied_mixes_no_more():
    model, batch = tiny_classifier(), tiny_batch((6, 6))
    expected, mixer = model(**batch).logits, InputMixer(model)
    with mixer.mixing(0.5):
        copied = copy.deepcopy(model)
        assert torch.equal(copied(**batch).logits, expected)
        mixer.detach()
        assert torch.equal(model(**batch).logits, expected)


def test_a_partner_stands_as_far_from_the_end_as_a_text_from_the_beginning():
    states = torch.arange(5.0)
    assert with_partner(states, 0.75).tolist() == [1.0, 1.5, 2.0, 2.5, 3.0]
