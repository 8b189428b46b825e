import pytest
from transformers import AutoTokenizer

from kdfeatures.data.synthetic import NAMES, load, tokenizer
from kdfeatures.data.synthetic.tokenizer import SPECIAL


@pytest.mark.parametrize("name", NAMES)
def test_every_word_of_the_tasks_is_in_the_vocabulary(name):
    tokens = tokenizer()
    for rows in load(name).values():
        for column in rows.column_names:
            if column not in ("label", "idx"):
                words = {word for text in rows[column] for word in text.split()}
                assert len(words) > 20
                ids = tokens(sorted(words))["input_ids"]
                assert not any(tokens.unk_token_id in row for row in ids)


def test_the_form_is_that_of_bert():
    tokens = tokenizer()
    found = tokens("The dog saw the cat", "a pet SAW a pet")
    assert tokens.convert_ids_to_tokens(found["input_ids"]) == (
        "[CLS] the dog saw the cat [SEP] a pet saw a pet [SEP]".split()
    )
    assert found["token_type_ids"] == [0] * 7 + [1] * 6
    assert tokens.convert_ids_to_tokens(range(5)) == list(SPECIAL)
    assert tokens.pad_token_id == 0


def test_the_ending_of_plural_nouns_and_of_verbs_is_a_token_of_its_own():
    tokens = tokenizer()
    found = tokens.tokenize("the boys that the queen sees are old")
    assert found == "the boy ##s that the queen see ##s are old".split()


def test_an_unknown_word_becomes_unk():
    tokens = tokenizer()
    assert tokens.convert_ids_to_tokens(tokens("zebra")["input_ids"]) == ["[CLS]", "[UNK]", "[SEP]"]


def test_saving_and_loading_with_auto_tokenizer_changes_nothing(tmp_path):
    before = tokenizer()
    before.save_pretrained(tmp_path)
    after = AutoTokenizer.from_pretrained(tmp_path)
    pair = (["the dog saw the cat", "no boy sleeps"], ["a pet saw a pet", "every nun sings"])
    first, second = (tokens(*pair, padding=True) for tokens in (before, after))
    assert dict(first) == dict(second)
    assert set(second) == {"input_ids", "token_type_ids", "attention_mask"}
    assert after.model_max_length == before.model_max_length
    assert after.special_tokens_map == before.special_tokens_map
