import re

import pytest
from support.refused import refused_as

from kdfeatures import mapping
from kdfeatures.errors import UserError
from kdfeatures.mapping.pairs import LayerPair

DEPTHS = [(student, teacher) for teacher in range(1, 25) for student in range(1, teacher + 1)]


def test_tinybert_with_4_of_12_learns_from_3_6_9_12_and_the_embeddings():
    assert mapping.uniform(4, 12, embeddings=True) == ((0, 0), (1, 3), (2, 6), (3, 9), (4, 12))


def test_pkd_skip_with_6_of_12_learns_from_2_4_6_8_10():
    assert mapping.skip(6, 12) == ((1, 2), (2, 4), (3, 6), (4, 8), (5, 10))


def test_uniform_rises_strictly_from_the_first_layer_on_and_ends_at_the_last():
    for student, teacher in DEPTHS:
        chosen = [pair.teacher for pair in mapping.uniform(student, teacher, embeddings=False)]
        assert chosen == sorted(set(chosen))
        assert chosen[0] >= 1 and chosen[-1] == teacher


@pytest.mark.parametrize(
    ("student", "teacher", "chosen"), [(5, 12, [2, 5, 7, 10, 12]), (2, 5, [3, 5]), (4, 6, [2, 3, 5, 6])]
)
def test_uneven_depths_are_rounded_half_up(student, teacher, chosen):
    assert [pair.teacher for pair in mapping.uniform(student, teacher, embeddings=False)] == chosen


def test_a_student_deeper_than_its_teacher_shares_teacher_layers():
    pairs = mapping.uniform(6, 3, embeddings=True)
    assert [pair.teacher for pair in pairs] == [0, 1, 1, 2, 2, 3, 3]
    mapping.check_pairs(pairs, 6, 3)


def test_skip_is_uniform_without_the_final_layer():
    for student, teacher in DEPTHS:
        if student > 1:
            assert mapping.skip(student, teacher) == mapping.uniform(student, teacher, embeddings=False)[:-1]


def test_skip_refuses_a_student_of_one_layer():
    told = "student with 1 layer has nothing to match; use"
    with refused_as(f"{told} final", None, f"{told} mapping=final"):
        mapping.skip(1, 12)


def test_last_pairs_the_top_of_both_and_first_the_bottom():
    assert mapping.last(3, 12, embeddings=False, final=True) == ((1, 10), (2, 11), (3, 12))
    assert mapping.first(3, 12, embeddings=True) == ((0, 0), (1, 1), (2, 2), (3, 3))


def test_last_without_the_final_layer_and_embeddings_is_pkd_last():
    assert mapping.last(6, 12, embeddings=False, final=False) == ((1, 7), (2, 8), (3, 9), (4, 10), (5, 11))


@pytest.mark.parametrize(("rule", "more"), [(mapping.first, {}), (mapping.last, {"final": True})])
def test_first_and_last_refuse_a_student_deeper_than_its_teacher(rule, more):
    told = f"{rule.__name__} .* 6 layers and the teacher 4; use "
    with refused_as(f"^{told}uniform", None, f"mapping={told}mapping=uniform"):
        rule(6, 4, embeddings=True, **more)


def test_reverse_is_uniform_upside_down():
    assert mapping.reverse(3, 12, embeddings=True) == ((0, 0), (1, 12), (2, 8), (3, 4))
    for student, teacher in ((2, 5), (6, 12), (4, 4)):
        upright = mapping.uniform(student, teacher, embeddings=False)
        flipped = mapping.reverse(student, teacher, embeddings=False)
        assert [pair.teacher for pair in flipped] == [pair.teacher for pair in upright][::-1]


def test_all_to_one_takes_the_last_layer_or_the_named_one():
    assert mapping.all_to_one(3, 12, teacher_layer=None, embeddings=False) == ((1, 12), (2, 12), (3, 12))
    assert mapping.all_to_one(2, 12, teacher_layer=5, embeddings=True) == ((0, 0), (1, 5), (2, 5))


def test_middle_takes_half_of_the_layers_rounded_up_or_those_named():
    assert mapping.middle(6, 12, student_layer=None, teacher_layer=None) == ((3, 6),)
    assert mapping.middle(5, 7, student_layer=None, teacher_layer=None) == ((3, 4),)
    assert mapping.middle(6, 12, student_layer=2, teacher_layer=5) == ((2, 5),)


def test_final_takes_the_teachers_last_layer_or_the_named_one():
    assert mapping.final(6, 24, teacher_layer=None) == ((6, 24),)
    assert mapping.final(6, 24, teacher_layer=21) == ((6, 21),)


def test_a_layer_may_stand_in_several_pairs_on_either_side():
    pairs = mapping.explicit(2, 4, pairs=[[1, 1], [1, 2], [2, 2], [2, 4]])
    mapping.check_pairs(pairs, 2, 4)
    assert pairs == ((1, 1), (1, 2), (2, 2), (2, 4))
    assert all(isinstance(pair, LayerPair) for pair in pairs)


@pytest.mark.parametrize("entry", [3, "12", [1], [1, 2, 3], [1, "2"], [True, 2], [1.0, 2], None])
def test_an_entry_that_is_no_pair_of_layers_is_refused_by_value(entry):
    told = re.escape(repr(entry))
    with refused_as(rf"{told}.*\[\(1, 2\), \(2, 4\)\]", None, rf"{told}.*mapping\.pairs=\[\[1,2\],\[2,4\]\]"):
        mapping.explicit(2, 4, pairs=[[0, 0], entry])


@pytest.mark.parametrize("pairs", ["12", 3, None])
def test_pairs_that_are_no_list_are_refused_by_value(pairs):
    with refused_as("^a layer map is a list", None, "mapping.pairs must be a list"):
        mapping.explicit(2, 4, pairs=pairs)


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ((3, 2), "student layer 3 with teacher layer 2, but the student has 2 layers"),
        ((-1, 2), "student layer -1 with teacher layer 2, but the student has 2 layers"),
        ((2, 14), "student layer 2 with teacher layer 14, but the teacher has 12 layers"),
        ((2, -1), "student layer 2 with teacher layer -1, but the teacher has 12 layers"),
    ],
)
def test_a_layer_that_does_not_exist_is_refused_with_both_numbers(pair, told):
    with pytest.raises(UserError, match=told):
        mapping.check_pairs([LayerPair(1, 1), LayerPair(*pair)], 2, 12)


def test_the_outermost_layers_exist():
    mapping.check_pairs([LayerPair(0, 0), LayerPair(2, 12)], 2, 12)


def test_no_pairs_are_refused():
    with pytest.raises(UserError, match="has no pairs"):
        mapping.check_pairs([], 2, 12)


def test_a_pair_that_stands_twice_is_refused():
    with pytest.raises(UserError, match=r"the pair \[1, 2\] more than once"):
        mapping.check_pairs([LayerPair(1, 2), LayerPair(2, 4), LayerPair(1, 2)], 2, 12)
