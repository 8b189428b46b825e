import re

import numpy as np
import pytest

from kdfeatures.evaluation.entity_f1 import entity_f1, is_bio

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
        (["B-PER", "I-PER", "O", "B-LOC"], {("PER", 0, 2), ("LOC", 3, 4)}),
        (["B-PER", "B-PER"], {("PER", 0, 1), ("PER", 1, 2)}),
        (["I-PER", "I-PER", "O"], {("PER", 0, 2)}),
        (["O", "I-LOC", "I-PER", "I-PER"], {("LOC", 1, 2), ("PER", 2, 4)}),
        (["B-PER", "I-LOC"], {("PER", 0, 1), ("LOC", 1, 2)}),
        (["B-LOC", "O", "I-LOC"], {("LOC", 0, 1), ("LOC", 2, 3)}),
    ],
)
def test_entities_are_those_of_the_conll_script(tags, expected):
    """They are right in all of the same entities, each of which begins with B."""
    assert by_pattern(tags) == expected
    plain = ["O"] * len(tags)
    for kind, start, end in expected:
        plain[start:end] = [f"B-{kind}", *[f"I-{kind}"] * (end - start - 1)]
    assert f1(tags, plain, [len(tags)]) == f1(plain, tags, [len(tags)]) == 1.0


@pytest.mark.parametrize("tags", [TAGS, ("O", "B-a-b", "I-a-b", "B-O", "I-O", "B-_", "I-_", "I-ONLY")])
def test_any_sequences_of_tags_score_as_what_a_regular_expression_finds(tags):
    rng = np.random.default_rng(0)
    for _ in range(300):
        lengths = rng.integers(0, 9, size=rng.integers(1, 5))
        labels = rng.integers(len(tags), size=lengths.sum())
        predictions = np.where(rng.random(len(labels)) < 0.7, labels, rng.integers(len(tags), size=len(labels)))
        right = total = 0
        for part in np.split(np.arange(len(labels)), np.cumsum(lengths)[:-1]):
            predicted, true = (by_pattern([tags[n] for n in ids[part]]) for ids in (predictions, labels))
            right, total = right + len(predicted & true), total + len(predicted) + len(true)
        expected = 2 * right / total if total else 0.0
        assert entity_f1(predictions, labels, tags=tags, lengths=lengths) == pytest.approx(expected, abs=1e-12)


def f1(predictions, labels, lengths):
    ids = [np.array([TAGS.index(tag) for tag in tags], dtype=int) for tags in (predictions, labels)]
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


@pytest.mark.filterwarnings("error")
def test_without_any_entity_it_is_0():
    assert f1(["O"], ["O"], [1]) == f1(["O", "O"], ["B-PER", "O"], [2]) == f1(["B-PER"], ["O"], [1]) == 0.0
    assert f1([], [], [0]) == 0.0


@pytest.mark.parametrize(("tag", "is_one"), [("O", True), ("B-X", True), ("I-X", True), ("B-", False), ("NOUN", False)])
def test_bio_tags_are_told_from_others(tag, is_one):
    assert is_bio(tag) is is_one
