import pytest
from datasets import Dataset
from support.tiny import tiny_classifier

from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError
from kdfeatures.models.limits import check_inputs, check_unseen_inputs, position_count


def split(*lengths):
    return Dataset.from_dict({"input_ids": [[5] * length for length in lengths]})


@pytest.mark.parametrize(
    ("family", "count"),
    [
        ("bert", 16),
        ("distilbert", 16),
        ("electra", 16),
        ("roberta", 14),
        ("modernbert", None),
        ("roformer", 16),
        ("eurobert", None),
    ],
)
def test_positions_are_counted_where_they_are_a_learned_table(family, count):
    assert position_count(tiny_classifier(family, max_position_embeddings=16)) == count


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_the_last_position_can_be_used(family):
    model = tiny_classifier(family, max_position_embeddings=16)
    check_inputs(model, "teacher.path=T", [split(3), split(2, position_count(model))])


def test_a_longer_example_is_told_with_the_length_to_set():
    with pytest.raises(UserError) as caught:
        check_inputs(tiny_classifier(max_position_embeddings=16), "teacher.path=T", [split(17), split(40, 3)])
    told = "teacher.path=T has 16 positions, but an example has 40 tokens; set data.max_length=16."
    assert str(caught.value) == told


def test_an_id_beyond_the_table_is_told_with_both_sizes():
    model = tiny_classifier()
    check_inputs(model, "teacher.path=T", [Dataset.from_dict({"input_ids": [[98, 0]]})])
    with pytest.raises(UserError) as caught:
        check_inputs(model, "teacher.path=T", [split(3), None, Dataset.from_dict({"input_ids": [[1], [5, 99]]})])
    told = str(caught.value)
    assert told.startswith("teacher.path=T has 99 token ids (0 to 98), but the examples hold the id 99; the tokenizer")
    assert "resize_token_embeddings" in told


def test_a_second_segment_that_a_model_does_not_know_is_told():
    model = tiny_classifier(type_vocab_size=1)
    pairs = Dataset.from_dict({"input_ids": [[5, 6]], "token_type_ids": [[0, 1]]})
    check_inputs(tiny_classifier(), "the student", [pairs])
    check_inputs(model, "the student", [Dataset.from_dict({"input_ids": [[5, 6]], "token_type_ids": [[0, 0]]})])
    with pytest.raises(UserError, match=r"the student has 1 segments \(0 to 0\), but the examples hold the id 1; "):
        check_inputs(model, "the student", [pairs])


def test_of_a_stream_the_whole_tokenizer_must_fit():
    words = tokenizer()
    model = tiny_classifier()
    model.resize_token_embeddings(len(words))
    check_unseen_inputs(model, "the student", words, 16)
    words.add_tokens(["newword"])
    with pytest.raises(
        UserError, match=f"has {len(words) - 1} token ids .* but the tokenizer has the id {len(words) - 1}; "
    ):
        check_unseen_inputs(model, "the student", words, 16)
    with pytest.raises(UserError, match="set data.max_length="):
        check_unseen_inputs(tiny_classifier(max_position_embeddings=16), "the student", tokenizer(), 17)
