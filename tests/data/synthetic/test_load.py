import hashlib
import subprocess
import sys
import time

import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from kdfeatures.data.synthetic import NAMES, SIZES, load
from kdfeatures.errors import UserError

COLUMNS = {"agreement": ["sentence"], "entailment": ["sentence1", "sentence2"]}


@pytest.fixture(scope="module")
def tasks():
    return {name: load(name) for name in NAMES}


def texts(split, name):
    return list(zip(*(split[column] for column in COLUMNS[name]), strict=True))


def digest(task, name):
    return hashlib.sha256(repr([texts(task[split], name) for split in SIZES]).encode()).hexdigest()


@pytest.mark.parametrize("name", NAMES)
def test_the_splits_have_the_columns_of_glue_and_the_stated_sizes(tasks, name):
    assert {split: len(rows) for split, rows in tasks[name].items()} == SIZES
    for rows in tasks[name].values():
        assert rows.column_names == [*COLUMNS[name], "label", "idx"]
        assert rows["idx"][:3] == [0, 1, 2]


@pytest.mark.parametrize("name", NAMES)
def test_both_labels_are_equally_frequent_in_every_split(tasks, name):
    for rows in tasks[name].values():
        assert sum(rows["label"]) * 2 == len(rows)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_occurs_twice_in_all_splits_together(tasks, name):
    everything = [text for split in SIZES for text in texts(tasks[name][split], name)]
    assert len(set(everything)) == len(everything)


@pytest.mark.parametrize("name", NAMES)
def test_a_bag_of_words_is_near_chance(tasks, name):
    train, test = tasks[name]["train"], tasks[name]["test"]
    columns = [(CountVectorizer(token_pattern=r"\S+").fit(train[column]), column) for column in COLUMNS[name]]
    count = [hstack([words.transform(rows[column]) for words, column in columns]) for rows in (train, test)]
    model = LogisticRegression(max_iter=300).fit(count[0], train["label"])
    assert 0.46 < model.score(count[1], test["label"]) < 0.54


def test_overlap_with_the_premise_is_near_chance(tasks):
    rows = tasks["entailment"]["test"]
    shares = []
    for premise, hypothesis in texts(rows, "entailment"):
        words = hypothesis.split()
        shares.append(sum(word in premise.split() for word in words) / len(words))
    best = max(
        sum((share >= cut) == (label == 0) for share, label in zip(shares, rows["label"], strict=True)) / len(rows)
        for cut in sorted(set(shares))
    )
    assert best < 0.55


def test_another_process_generates_the_same_data(tasks):
    code = (
        "import hashlib; from kdfeatures.data.synthetic import SIZES, load\n"
        f"for name, columns in {COLUMNS!r}.items():\n"
        "    task = load(name)\n"
        "    rows = [list(zip(*(task[split][c] for c in columns), strict=True)) for split in SIZES]\n"
        "    print(name, hashlib.sha256(repr(rows).encode()).hexdigest())"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines() == [f"{name} {digest(tasks[name], name)}" for name in COLUMNS]


def test_another_seed_generates_other_data(tasks):
    assert digest(load("agreement", seed=1), "agreement") != digest(tasks["agreement"], "agreement")


def test_generation_takes_less_than_three_seconds_of_processor_time(tasks):
    for name in tasks:
        start = time.process_time()
        load(name)
        assert time.process_time() - start < 3


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(UserError, match="'agrement'; did you mean 'agreement'.*agreement, entailment"):
        load("agrement")
