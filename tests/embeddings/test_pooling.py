import copy

import pytest
import torch
from support.tiny import tiny_config
from transformers import AutoModel

from kdfeatures.embeddings.pooling import MODES, Pooling, give_vectors, pooling_of
from kdfeatures.errors import ConfigError


def by_hand(mode, states, mask):
    vectors = []
    for text, real in zip(states, mask.bool(), strict=True):
        tokens = text[real]
        count = len(tokens)
        weights = torch.arange(1, count + 1, dtype=states.dtype)
        vectors.append(
            {
                "mean": sum(tokens) / count,
                "cls": tokens[0],
                "max": torch.stack([max(column) for column in tokens.T]),
                "mean_sqrt_len_tokens": sum(tokens) / count**0.5,
                "weightedmean": sum(w * x for w, x in zip(weights, tokens, strict=True)) / weights.sum(),
                "lasttoken": tokens[-1],
            }[mode]
        )
    return torch.stack(vectors)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("normalize", [False, True])
def test_every_pooling_by_hand_and_whatever_is_padded(mode, normalize):
    random = torch.Generator().manual_seed(1)
    states = torch.randn(3, 5, 4, generator=random, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    vectors = Pooling(mode, normalize)(states, mask)
    expected = by_hand(mode, states, mask)
    if normalize:
        expected = expected / expected.square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(vectors, expected)
    other = torch.where(mask[..., None].bool(), states, 1e3)
    torch.testing.assert_close(Pooling(mode, normalize)(other, mask), vectors)
    torch.testing.assert_close(Pooling(mode)(states, None), Pooling(mode)(states, torch.ones(3, 5)))


@pytest.mark.parametrize("mode", MODES)
def test_they_are_those_of_sentence_transformers(mode):
    theirs = pytest.importorskip("sentence_transformers.models").Pooling(4, pooling_mode=mode)
    states, mask = torch.randn(3, 5, 4), torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    expected = theirs({"token_embeddings": states, "attention_mask": mask})["sentence_embedding"]
    torch.testing.assert_close(Pooling(mode)(states, mask), expected)


def test_an_unknown_pooling_is_refused():
    with pytest.raises(ConfigError, match="mode=men is unknown; did you mean 'mean'"):
        Pooling("men")


def test_an_encoder_gives_vectors_beside_its_states_and_so_does_its_copy():
    torch.manual_seed(0)
    model = AutoModel.from_config(tiny_config("bert")).eval()
    ids, mask = torch.randint(5, 40, (2, 6)), torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0]])
    plain = model(input_ids=ids, attention_mask=mask)
    assert pooling_of(model) is None and "logits" not in plain
    give_vectors(model, Pooling("cls"))
    give_vectors(model, Pooling("mean", normalize=True))  # the later one holds
    for either in (model, copy.deepcopy(model)):
        output = either(input_ids=ids, attention_mask=mask)
        assert pooling_of(either) == Pooling("mean", normalize=True)
        torch.testing.assert_close(output.last_hidden_state, plain.last_hidden_state)
        torch.testing.assert_close(output.logits, Pooling("mean", True)(plain.last_hidden_state, mask))
        torch.testing.assert_close(output.logits.norm(dim=1), torch.ones(2))


def test_a_mask_is_seen_wherever_it_is_given():
    torch.manual_seed(0)
    model = AutoModel.from_config(tiny_config("bert")).eval()
    give_vectors(model, Pooling())
    ids, mask = torch.randint(5, 50, (2, 6)), torch.tensor([[1, 1, 1, 0, 0, 0], [1] * 6])
    by_name = model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(model(ids, mask).logits, by_name)
    torch.testing.assert_close(model(ids[:1, :3]).logits, by_name[:1])
