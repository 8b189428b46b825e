import pytest
import torch
from datasets import Dataset
from support.tiny import decided, tiny_classifier
from support.tokenizer_kinds import TEXTS as KINDS_TEXTS
from support.tokenizer_kinds import tokenizer_of

from kdfeatures.analysis.batches import text_batches
from kdfeatures.analysis.compare_heads import compare_heads
from kdfeatures.analysis.compare_layers import compare_layers
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


def test_two_tokenizers_of_the_same_pieces_give_the_comparison_of_one():
    models = [decided(tiny_classifier(layers=layers)) for layers in (2, 3)]  # of 99 tokens, more than it has
    texts = [*TEXTS, "no bird sang"]
    layers = [
        compare_layers(*models, texts, tokenizer(), **more).similarity
        for more in ({}, {"teacher_tokenizer": tokenizer()})
    ]
    torch.testing.assert_close(*layers, atol=1e-9, rtol=1e-9)
    heads = [
        compare_heads(*models, texts, tokenizer(), measures=("divergence", "cka"), pairs=[(1, 2)], batch_size=2, **more)
        for more in ({}, {"teacher_tokenizer": tokenizer()})
    ]
    for measure in ("divergence", "cka"):
        one, two = (compared[measure][1, 2] for compared in heads)
        torch.testing.assert_close(one.similarity, two.similarity, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(one.null, two.null, atol=1e-6, rtol=1e-5)


def test_other_tokenizers_are_compared_by_groups():
    students, teachers = tokenizer_of("wordpiece cased"), tokenizer_of("byte-bpe")
    models = [decided(tiny_classifier(layers=layers)) for layers in (2, 3)]
    for model in models:
        model.resize_token_embeddings(400)
    compared = compare_layers(*models, KINDS_TEXTS, students, teacher_tokenizer=teachers, batch_size=5)
    assert compared.similarity.shape == (3, 4) and compared.similarity.isfinite().all()
    with pytest.raises(UserError, match="choose divergence or cka"):
        compare_heads(*models, KINDS_TEXTS, students, teacher_tokenizer=teachers, measures=("correlation",))
