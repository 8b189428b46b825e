import pytest
import torch
from datasets import Dataset

from kdfeatures.analysis.batches import text_batches
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError

TEXTS = ["the dog slept", "the dogs that the cat saw slept", "a cat", "the cats slept", "dogs", "the dog saw a cat"]


@pytest.mark.parametrize(
    ("count", "batch_size", "sizes"), [(6, 2, [2, 2, 2]), (6, 4, [3, 3]), (5, 2, [2, 3]), (4, 9, [2, 2])]
)
def test_every_batch_has_the_two_texts_that_a_shuffle_needs(count, batch_size, sizes):
    batches = text_batches(TEXTS[:count], tokenizer(), batch_size=batch_size)
    assert [len(batch["input_ids"]) for batch in batches] == sizes


def test_texts_stay_in_their_order_and_are_padded_within_their_batch():
    words = tokenizer()
    batches = text_batches(TEXTS, words, batch_size=3)
    rows = [
        ids[mask.bool()].tolist()
        for b in batches
        for ids, mask in zip(b["input_ids"], b["attention_mask"], strict=True)
    ]
    assert rows == words(TEXTS)["input_ids"]
    assert [b["input_ids"].shape[1] for b in batches] == [max(len(row) for row in rows[i : i + 3]) for i in (0, 3)]


def test_strings_pairs_and_encoded_examples_give_the_same():
    words = tokenizer()
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    given = text_batches(pairs, words, batch_size=3)
    encoded = Dataset.from_dict(dict(words([a for a, _ in pairs], [b for _, b in pairs])) | {"labels": [0] * 6})
    for own, other in zip(given, text_batches(encoded, words, batch_size=3), strict=True):
        assert own.keys() == other.keys() == {"input_ids", "attention_mask", "token_type_ids"}
        assert all(torch.equal(own[name], other[name]) for name in own)


def test_strings_are_cut_where_asked():
    assert {b["input_ids"].shape[1] for b in text_batches(TEXTS[:4], tokenizer(), batch_size=2, max_length=4)} == {4}


def test_too_few_texts_are_refused():
    with pytest.raises(UserError, match="there are 3 texts, but 4 are needed"):
        text_batches(TEXTS[:3], tokenizer(), batch_size=2)
    with pytest.raises(UserError, match="batch_size=1 must be at least 2"):
        text_batches(TEXTS, tokenizer(), batch_size=1)
