"""What a teacher that reads other texts gives: whose tokens stand where, and that the right ones are not among them."""

import pytest
import torch

from kdfeatures.distillation.controls import features_of_other_texts
from kdfeatures.features import AttentionStates, Features

MASK = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [0, 0, 0, 1, 1]])  # the last one padded on the left


def names(mask):
    """(B, L, 1): text and token in one number, 10 times the text and the place; NaN for padding."""
    texts, places = torch.meshgrid(*map(torch.arange, mask.shape), indexing="ij")
    return torch.where(mask.bool(), 10.0 * texts + places, torch.nan)[..., None]


def features(mask, heads=2):
    made, states = Features(), names(mask)
    made.hidden[0] = made.hidden["final"] = states
    own = states[:, None].expand(-1, heads, -1, -1)
    made.attention[3] = AttentionStates(own, own + 100, own + 200, 0.5, allowed=mask[:, None, None].bool())
    return made


def test_every_real_token_takes_one_of_the_text_before_and_shorter_texts_begin_again():
    moved = features_of_other_texts(features(MASK), MASK).hidden[0][..., 0]
    assert moved[0, :3].tolist() == [23, 24, 23]
    assert moved[1].tolist() == [0, 1, 2, 0, 1]
    assert moved[2, 3:].tolist() == [10, 11]


def test_operands_move_as_hidden_states_do_in_every_head():
    moved = features_of_other_texts(features(MASK), MASK)
    hidden = moved.hidden["final"]
    for head in range(2):
        real = MASK.bool()
        for states, more in zip(moved.attention[3][:3], (0, 100, 200), strict=True):
            assert torch.equal(states[:, head][real], hidden[real] + more)
    assert moved.attention[3].allowed is None and moved.attention[3].scale == 0.5


def test_no_text_keeps_its_own_unless_it_is_alone():
    moved = features_of_other_texts(features(MASK), MASK).hidden[0][..., 0]
    own = torch.arange(3)[:, None].expand_as(moved)
    assert not ((moved // 10).long() == own)[MASK.bool()].any()
    alone = features_of_other_texts(features(MASK[:1]), MASK[:1]).hidden[0]
    assert torch.equal(alone[0, :3, 0], torch.arange(3.0))


@pytest.mark.parametrize("length", [1, 4])
def test_a_text_without_tokens_does_no_harm(length):
    mask = torch.zeros(2, length)
    assert features_of_other_texts(features(mask), mask).hidden[0].shape == (2, length, 1)
