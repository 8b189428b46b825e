import pytest
from datasets import Dataset
from support.tiny import tiny_classifier

from kdfeatures.errors import UserError
from kdfeatures.models.max_length import check_positions, position_count


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
    check_positions(model, "teacher.path=T", [split(3), split(2, position_count(model))])


def test_a_longer_example_is_told_with_the_length_to_set():
    with pytest.raises(UserError) as caught:
        check_positions(tiny_classifier(max_position_embeddings=16), "teacher.path=T", [split(17), split(40, 3)])
    told = "teacher.path=T has 16 positions, but an example has 40 tokens; set data.max_length=16."
    assert str(caught.value) == told
