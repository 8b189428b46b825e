import base64

import pytest
import torch
from datasets import Dataset
from support.tiny import decided, tiny_classifier
from support.tokenizer_kinds import tokenizer_of

from kdfeatures.analysis.batches import pair_of
from kdfeatures.analysis.head_similarity import MEASURES
from kdfeatures.analysis.report import MEANINGS
from kdfeatures.analysis.sentences import attention_maps, check_page, example_sentences, own_sentences
from kdfeatures.capture.context import extract
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError

TEXTS = ["the dogs that the cat saw slept", "the dog slept", "a cat slept", "the cats slept"]


def examples():
    return Dataset.from_dict(dict(tokenizer()(TEXTS)))


def test_the_page_explains_every_measure():
    assert MEANINGS.keys() == MEASURES.keys()


def test_the_first_examples_that_are_short_enough_are_shown():
    found = example_sentences(examples(), tokenizer(), {}, count=2, longest=5)
    assert [sentence.texts for sentence in found] == [(text,) for text in TEXTS[1:3]]
    assert found[0].tokens == ("[CLS]", "the", "dog", "slept", "[SEP]")
    assert found[0].inputs.student["input_ids"].shape == (1, 5)
    assert example_sentences(examples(), tokenizer(), {}, count=0, longest=1) == []


def test_maps_are_the_probabilities_in_one_byte_a_value():
    torch.manual_seed(0)
    model = decided(tiny_classifier())
    sentence = example_sentences(examples(), tokenizer(), {}, count=1, longest=99)[0]
    ids = sentence.inputs.student["input_ids"] % 99
    inputs = {**sentence.inputs.student, "input_ids": ids}
    sentence = sentence._replace(inputs=pair_of(inputs))
    (text,) = attention_maps(model, [sentence], [2], "student")[2]
    length = ids.shape[1]
    steps = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8).view(4, length, length)
    with torch.no_grad():
        expected = extract(model, attention=[2], **inputs).attention_probs(2)[0]
    assert ((steps / 255) ** 2 - expected).abs().max() < 1 / 255


def test_texts_of_the_readers_own():
    single, pair = own_sentences(["the dog slept", ["the dog", "a cat"]], tokenizer(), {}, max_length=9)
    assert single.tokens == ("[CLS]", "the", "dog", "slept", "[SEP]")
    assert pair.tokens == ("[CLS]", "the", "dog", "[SEP]", "a", "cat", "[SEP]")
    assert pair.inputs.student["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]


def test_texts_are_shown_as_they_were_written_and_pairs_apart():
    own = own_sentences(["The DOG  slept", ["The dog", "A Cat"]], tokenizer(), {}, max_length=9)
    assert [sentence.texts for sentence in own] == [("The DOG  slept",), ("The dog", "A Cat")]
    pairs = Dataset.from_dict(dict(tokenizer()(["the dog", "a cat"], ["a dog", "dog blorp"])))
    read = example_sentences(pairs, tokenizer(), {}, count=2, longest=9)
    assert [sentence.texts for sentence in read] == [("the dog", "a dog"), ("a cat", "dog [UNK]")]
    written = [("The Dog", "A dog"), None]
    found = example_sentences(pairs, tokenizer(), {}, texts=written, count=2, longest=9)
    assert [sentence.texts for sentence in found] == [written[0], read[1].texts]


def test_mistakes_are_told():
    with pytest.raises(UserError, match="no example has at most inspect.sentence_tokens=3 tokens; the shortest has 5"):
        example_sentences(examples(), tokenizer(), {}, count=2, longest=3)
    with pytest.raises(UserError, match=r"inspect.texts\[1\] has 10 tokens, more than data.max_length=8"):
        own_sentences(["the dog", TEXTS[0]], tokenizer(), {}, max_length=8)
    for wrong in (3, None, ["a", "b", "c"], [1, 2], []):
        with pytest.raises(UserError, match="where a text, or a list of two, should be"):
            own_sentences([wrong], tokenizer(), {}, max_length=8)
    sentences = example_sentences(examples(), tokenizer(), {}, count=4, longest=99)
    with pytest.raises(UserError, match="maps of 4 sentences takes about 4 MiB, more than inspect.max_page_mib=1;"):
        check_page(sentences, 24, figures=20, max_mib=1)
    check_page(sentences, 24, figures=4, max_mib=1)


def test_of_two_tokenizers_groups_are_shown_that_cover_the_same_characters():
    others = {"main": tokenizer_of("byte-bpe")}
    (sentence,) = own_sentences(["Ελλάδα naïve dog"], tokenizer_of("wordpiece cased"), others, max_length=64)
    assert len(sentence.tokens) == sentence.inputs.groups.mask.shape[1]
    assert sentence.inputs.student["input_ids"].shape[1] != sentence.inputs.teacher["input_ids"].shape[1]
    assert (sentence.tokens[0], sentence.tokens[-1]) == ("[CLS]", "[SEP]")
    model = decided(tiny_classifier()).eval()
    model.resize_token_embeddings(400)
    for side in ("student", "teacher"):
        (text,) = attention_maps(model, [sentence], [2], side)[2]
        steps = torch.frombuffer(bytearray(base64.b64decode(text)), dtype=torch.uint8).view(
            4, *[len(sentence.tokens)] * 2
        )
        assert ((steps / 255) ** 2).sum(-1).sub(1).abs().max() < 0.05
