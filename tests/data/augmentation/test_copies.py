import re

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from kdfeatures.data.augmentation.copies import augmented
from kdfeatures.data.augmentation.words import parts_of

CHOICES = {"dog": ["cat", "fox", "crow"], "slept": ["ran", "sang"], "big": ["huge"]}
SETTINGS = {"copies": 20, "probability": 0.4, "candidates": 3, "seed": 1, "fingerprint": "words"}


def substitutes(text, positions, count):
    parts = parts_of(text)
    return [CHOICES.get(parts[position].lower(), [])[:count] for position in positions]


def data(*texts, second=None):
    columns = {"sentence": list(texts), "label": [i % 2 for i in range(len(texts))]}
    features = {"sentence": Value("string"), "label": ClassLabel(names=["no", "yes"])}
    if second:
        columns["other"], features["other"] = second, Value("string")
    return Dataset.from_dict(columns, features=Features(features))


def made(dataset, columns=("sentence",), **changed):
    return augmented(dataset, columns, substitutes=substitutes, **(SETTINGS | changed))


def test_copies_differ_from_the_original_and_from_each_other():
    found = made(data("The big dog slept."))["sentence"][:]
    assert 2 < len(found) <= 20 and len(set(found)) == len(found)
    assert "The big dog slept." not in found
    assert all(re.fullmatch(r"The (big|huge) (dog|cat|fox|crow) (slept|ran|sang)\.", text) for text in found)


def test_each_word_is_replaced_with_the_probability():
    found = made(data(*["dog " * 50] * 40), copies=5)["sentence"][:]
    replaced = sum(word != "dog" for text in found for word in text.split())
    assert replaced / (50 * len(found)) == pytest.approx(0.4, abs=0.02)


def test_substitutes_are_drawn_evenly_from_the_first_candidates():
    found = " ".join(made(data("dog " * 600), copies=1, candidates=2)["sentence"]).split()
    counts = {word: found.count(word) for word in set(found) - {"dog"}}
    assert set(counts) == {"cat", "fox"} and abs(counts["cat"] - counts["fox"]) < 60


def test_a_capital_stays_one():
    found = made(data("Dog"), probability=1.0)["sentence"][:]
    assert set(found) == {"Cat", "Fox", "Crow"}


def test_a_rows_copies_depend_on_the_seed_and_the_row_alone():
    alone, among = made(data("a dog slept", "x")), made(data("a dog slept", "big", "dog"))
    assert alone["sentence"][:] == among["sentence"][: len(alone)]
    assert made(data("a dog slept"), seed=2)["sentence"][:] != alone["sentence"][:]


def test_all_text_columns_are_altered_and_the_others_repeated():
    found = made(data("a dog", "none", second=["it slept", "none"]), columns=("sentence", "other"))
    assert {row["label"] for row in found} == {0}
    assert found.features == data("x", second=["y"]).features
    assert {row["other"] for row in found} > {"it ran", "it sang"}


def test_a_text_without_substitutes_has_no_copies():
    assert len(made(data("12 — ?", "nothing here"))) == 0
