import re

import numpy as np
import pytest

from kdfeatures.evaluation.entity_f1 import entities, entity_f1, is_bio

TAGS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


def by_pattern(tags):
    """The same entities by one regular expression a type: a letter for each tag, B or I of the type, or neither."""
    found = set()
    for kind in {tag[2:] for tag in tags if tag != "O"}:
        letters = "".join(tag[0] if tag[2:] == kind else "." for tag in tags)
        found |= {(kind, *match.span()) for match in re.finditer("BI*|(?<!I)(?<!B)I+", letters)}
    return found


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], set()),
        (["O", "O"], set()),
        (["B-PER", "I-PER", "O", "B-LOC"], {("PER", 0, 2), ("LOC", 3, 4)}),
        (["B-PER", "B-PER"], {("PER", 0, 1), ("PER", 1, 2)}),
        (["I-PER", "I-PER", "O"], {("PER", 0, 2)}),
        (["O", "I-LOC", "I-PER", "I-PER"], {("LOC", 1, 2), ("PER", 2, 4)}),
        (["B-PER", "I-LOC"], {("PER", 0, 1), ("LOC", 1, 2)}),
        (["B-LOC", "O", "I-LOC"], {("LOC", 0, 1), ("LOC", 2, 3)}),
    ],
)
def test_entities_are_those_of_the_conll_script(tags, expected):
    assert entities(tags) == expected == by_pattern(tags)


def test_any_sequence_of_tags_gives_what_a_regular_expression_finds():
    rng = np.random.default_rng(0)
    for _ in range(500):
        tags = rng.choice(TAGS, size=rng.integers(1, 9)).tolist()
        assert entities(tags) == by_pattern(tags), tags


def f1(predictions, labels, lengths):
    ids = [np.array([TAGS.index(tag) for tag in tags]) for tags in (predictions, labels)]
    return entity_f1(*ids, tags=TAGS, lengths=lengths)


def test_an_entity_counts_when_type_and_both_ends_are_right():
    labels = ["B-PER", "I-PER", "O", "B-LOC", "O", "B-PER"]
    found = ["B-PER", "I-PER", "O", "B-PER", "O", "O"]
    assert f1(found, labels, [6]) == pytest.approx(2 * 1 / (2 + 3))
    assert f1(labels, labels, [6]) == 1.0
    assert f1(["B-PER", *["O"] * 5], labels, [6]) == 0.0


def test_an_entity_ends_with_its_sentence():
    assert f1(["B-PER", "I-PER"], ["B-PER", "I-PER"], [1, 1]) == 1.0
    joined, parted = f1(["B-PER", "I-PER"], ["B-PER", "B-PER"], [2]), f1(["B-PER", "I-PER"], ["B-PER", "B-PER"], [1, 1])
    assert joined == 0.0 and parted == 1.0


def test_without_any_entity_it_is_0():
    assert f1(["O"], ["O"], [1]) == 0.0


@pytest.mark.parametrize(("tag", "is_one"), [("O", True), ("B-X", True), ("I-X", True), ("B-", False), ("NOUN", False)])
def test_bio_tags_are_told_from_others(tag, is_one):
    assert is_bio(tag) is is_one
