import pytest

from kdfeatures.data.augmentation.words import is_word, parts_of, pieces, whole_words
from kdfeatures.data.synthetic import tokenizer


@pytest.mark.parametrize(
    "text", ["The dog's 3 toys, (broken) -- or not?", "", "naïve café’s 1st", "  two  spaces ", "snake_case x2y"]
)
def test_the_parts_of_a_text_joined_are_the_text(text):
    assert "".join(parts_of(text)) == text


def test_words_are_told_from_spaces_numbers_and_punctuation():
    words = [part for part in parts_of("The dog's 3 toys, don't 4ever!") if is_word(part)]
    assert words == ["The", "dog's", "toys", "don't", "ever"]


def test_whole_words_leave_out_pieces_and_special_tokens():
    found = whole_words(tokenizer())
    assert "boy" in found and "saw" in found
    assert not {"##s", "s", "[MASK]", "MASK", ","} & set(found)
    assert tokenizer().convert_ids_to_tokens([found["boy"]]) == ["boy"]


def test_a_word_of_two_pieces_is_no_whole_word():
    assert len(pieces("boys", tokenizer())) == 2 and len(pieces("boy", tokenizer())) == 1
    assert "boys" not in whole_words(tokenizer())
