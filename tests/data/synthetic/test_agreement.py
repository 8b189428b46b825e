from random import Random

import pytest

from kdfeatures.data.synthetic import agreement
from kdfeatures.data.synthetic.lexicon import PEOPLE, TRANSITIVE

PLURALS = {noun.plural for noun in PEOPLE}


@pytest.fixture(scope="module")
def pairs():
    rng = Random(3)
    return [agreement.pair(rng) for _ in range(3000)]


def split(pair):
    (good, one), (bad, zero) = pair
    assert (one, zero) == (1, 0)
    return good[0].split(), bad[0].split()


def test_a_pair_differs_in_one_word_or_in_where_no_stands(pairs):
    for pair in pairs:
        good, bad = split(pair)
        changed = [(a, b) for a, b in zip(good, bad, strict=True) if a != b]
        assert len(changed) == 1 or changed == [("no", "the"), ("the", "no")]


def test_an_acceptable_subject_and_its_verb_agree_when_they_are_neighbours(pairs):
    forms = {verb.plural for verb in TRANSITIVE} | {verb.singular for verb in TRANSITIVE}
    seen = 0
    for pair in pairs:
        good, _ = split(pair)
        if len(good) == 5 and good[0] == good[3] == "the" and good[2] in forms:
            seen += 1
            assert (good[1] in PLURALS) == (good[2] in {verb.plural for verb in TRANSITIVE})
    assert seen > 20


def test_ever_is_acceptable_only_under_a_subject_with_no(pairs):
    for pair in pairs:
        good, bad = split(pair)
        if "ever" in good:
            assert good[0] == "no"
            assert bad[0] == "the" or bad.count("no") == 1


def test_an_acceptable_reflexive_has_the_number_of_the_subject(pairs):
    seen = 0
    for pair in pairs:
        good, _ = split(pair)
        if good[-1] in agreement.REFLEXIVES:
            seen += 1
            subject = next(word for word in good if word in PLURALS or word in {n.singular for n in PEOPLE})
            assert (subject in PLURALS) == (good[-1] == "themselves")
    assert seen > 500


def test_the_nearest_noun_misleads_more_often_than_not(pairs):
    singulars = {noun.singular for noun in PEOPLE}
    same = other = 0
    for pair in pairs:
        good, _ = split(pair)
        if good[-2] in ("is", "are"):
            nouns = [word for word in good[:-2] if word in PLURALS | singulars]
            if len(nouns) > 1:
                right = (nouns[-1] in PLURALS) == (good[-2] == "are")
                same, other = same + right, other + (not right)
    assert other > same
