"""Tokenizers cut to the pieces of some texts: these are split as before, and others still are."""

import json

import pytest
from support.tokenizer_kinds import KINDS, TEXTS, tokenizer_of
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from kdfeatures.data.synthetic import tokenizer as word_tokenizer
from kdfeatures.errors import UserError
from kdfeatures.tokenization.vocabulary import cut_tokenizer, used_pieces

SEEN, UNSEEN = TEXTS[:5], [*TEXTS[5:], "zebra crossing", "日本", ""]
SIZES = {kind: 400 if kind == "byte-bpe" else 160 for kind in KINDS}


def cut(kind):
    whole = tokenizer_of(kind, SIZES[kind])
    return whole, cut_tokenizer(whole, used_pieces(whole, SEEN), "x")


def pieces(tokenizer, *texts):
    return tokenizer.convert_ids_to_tokens(tokenizer(*texts)["input_ids"])


@pytest.mark.parametrize("kind", KINDS)
def test_texts_that_were_counted_are_split_as_before(kind):
    whole, (small, old_ids) = cut(kind)
    assert len(small) == len(old_ids) < len(whole) and len(set(old_ids)) == len(old_ids)
    for text in SEEN:
        assert pieces(small, text) == pieces(whole, text)
        ids = small(text)["input_ids"]
        assert [old_ids[id_] for id_ in ids] == whole(text)["input_ids"]
    assert pieces(small, *SEEN[:2]) == pieces(whole, *SEEN[:2])
    words = SEEN[1].split()
    split = {"is_split_into_words": True}
    assert small.convert_ids_to_tokens(small(words, **split)["input_ids"]) == whole.convert_ids_to_tokens(
        whole(words, **split)["input_ids"]
    )


@pytest.mark.parametrize("kind", KINDS)
def test_other_texts_are_split_into_what_is_left(kind):
    whole, (small, _) = cut(kind)
    for text in UNSEEN:
        one, other = pieces(small, text), pieces(whole, text)
        assert one[0] == other[0] and one[-1] == other[-1]
        marks = str.maketrans("", "", "▁Ġ")
        join = [
            "".join(x for x in of if x not in small.all_special_tokens).replace("##", "").translate(marks)
            for of in (one, other)
        ]
        if small.unk_token not in one:
            assert join[0] == join[1]
        assert (small.unk_token in one) <= (small.unk_token in other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_tokenizer_is_saved_and_found_again(kind, tmp_path):
    whole, (small, _) = cut(kind)
    small.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*SEEN, *UNSEEN):
        assert loaded(text)["input_ids"] == small(text)["input_ids"]
    for name in ("pad", "unk", "cls", "sep", "mask"):
        token = getattr(whole, f"{name}_token")
        assert getattr(loaded, f"{name}_token") == token
        assert getattr(loaded, f"{name}_token_id") == small.convert_tokens_to_ids(token)
    batch = loaded([SEEN[0], "a"], padding=True)
    assert batch["input_ids"][1][-1] == loaded.pad_token_id and batch["attention_mask"][1][-1] == 0
    assert loaded.model_max_length == whole.model_max_length


def test_the_padding_token_keeps_its_id_from_which_positions_are_counted():
    whole = tokenizer_of("byte-bpe", 400)
    small, old_ids = cut_tokenizer(whole, used_pieces(whole, ["a"]), "x")
    assert small.pad_token_id == whole.pad_token_id and old_ids[small.pad_token_id] == whole.pad_token_id


def test_words_are_cut_too():
    whole = word_tokenizer()
    small, _ = cut_tokenizer(whole, used_pieces(whole, ["the dog slept"]), "x")
    assert pieces(small, "the dog slept") == pieces(whole, "the dog slept")
    assert small.unk_token in pieces(small, "a cat") and len(small) < 12


def test_merges_that_lead_nowhere_are_gone_and_those_on_the_way_stay():
    whole, (small, _) = cut("byte-bpe")
    before, after = (json.loads(x.backend_tokenizer.to_str())["model"] for x in (whole, small))
    assert 0 < len(after["merges"]) < len(before["merges"])
    assert all("".join(merge) in after["vocab"] for merge in after["merges"])
    assert all(sign in after["vocab"] for sign in before["vocab"] if len(sign) == 1)


def test_a_slow_tokenizer_is_refused():
    class Slow:
        backend_tokenizer = None

    with pytest.raises(UserError, match="student.path=X has a slow tokenizer"):
        cut_tokenizer(Slow(), [], "student.path=X")


@pytest.mark.parametrize("marks", [{"end_of_word_suffix": "</w>"}, {"continuing_subword_prefix": "##"}], ids=str)
def test_byte_pair_pieces_that_are_marked_inside_or_at_the_end_of_words_are_kept(marks):
    backend = Tokenizer(models.BPE(unk_token="<unk>", **marks))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<pad>", "<unk>"], show_progress=False, **marks)
    backend.train_from_iterator(TEXTS * 3, trainer)
    whole = PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")
    small, old_ids = cut_tokenizer(whole, used_pieces(whole, SEEN), "x")
    assert len(small) < len(whole)
    for text in SEEN:
        assert pieces(small, text) == pieces(whole, text)
        assert [old_ids[id_] for id_ in small(text)["input_ids"]] == whole(text)["input_ids"]
