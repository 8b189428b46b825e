import numpy as np
import pytest
from datasets import Dataset

from kdfeatures.data.subsets import hide_labels, hold_out, subset
from kdfeatures.errors import UserError


@pytest.fixture
def examples():
    labels = np.random.default_rng(0).permutation([0] * 60 + [1] * 30 + [2] * 10).tolist()
    return Dataset.from_dict({"input_ids": [[i] for i in range(100)], "labels": labels})


def rows(dataset):
    return [ids[0] for ids in dataset["input_ids"]]


def test_a_subset_is_random_sorted_and_repeatable(examples):
    first, again, other = (rows(subset(examples, 20, seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(set(first)) != list(range(20))


def test_a_stratified_subset_keeps_the_shares(examples):
    for seed in range(5):
        assert np.bincount(subset(examples, 10, seed, stratify="labels")["labels"][:]).tolist() == [6, 3, 1]


def test_every_example_can_be_chosen(examples):
    chosen = {row for seed in range(60) for row in rows(subset(examples, 10, seed, stratify="labels"))}
    assert chosen == set(range(100))


def test_none_is_the_whole(examples):
    assert subset(examples, None, 0) is examples
    assert hide_labels(examples, None, 0) is examples


def test_all_of_the_examples_are_the_whole(examples):
    assert rows(subset(examples, 100, 0)) == list(range(100))


@pytest.mark.parametrize("count", [0, 101])
def test_more_than_there_are_or_none_is_refused(examples, count):
    with pytest.raises(UserError, match=f"data.train_examples={count} must lie between 1 and the 100"):
        subset(examples, count, 0)
    with pytest.raises(UserError, match=f"data.labelled={count} must lie between 1 and the 100"):
        hide_labels(examples, count, 0)


def test_held_out_examples_are_not_trained_on_and_keep_the_shares(examples):
    rest, held = hold_out(examples, 0.2, 0, stratify="labels")
    assert sorted(rows(rest) + rows(held)) == list(range(100)) and len(held) == 20
    assert np.bincount(held["labels"][:]).tolist() == [12, 6, 2]
    assert rows(hold_out(examples, 0.2, 0)[1]) == rows(hold_out(examples, 0.2, 0)[1]) != rows(held)


@pytest.mark.parametrize("share", [0, 1, 1.5, 0.001])
def test_a_share_that_leaves_nothing_is_refused(examples, share):
    with pytest.raises(UserError, match=f"data.held_out={share} of 100 training examples leaves nothing"):
        hold_out(examples, share, 0)


def test_hidden_labels_become_ignored_and_the_rest_stays(examples):
    few = hide_labels(examples, 20, seed=0)
    before, after = np.array(examples["labels"][:]), np.array(few["labels"][:])
    kept = after != -100
    assert rows(few) == rows(examples)
    assert (after[kept] == before[kept]).all()
    assert np.bincount(after[kept]).tolist() == [12, 6, 2]


def test_only_labels_that_are_known_can_be_kept(examples):
    few = hide_labels(hide_labels(examples, 20, seed=0), 10, seed=1)
    assert (np.array(few["labels"][:]) != -100).sum() == 10
    with pytest.raises(UserError, match="data.labelled=21 must lie between 1 and the 20"):
        hide_labels(hide_labels(examples, 20, seed=0), 21, seed=1)


def test_hiding_labels_of_a_subset_shows_no_progress_bar(examples, capfd):
    hide_labels(subset(examples, 50, 0), 10, seed=0)
    assert capfd.readouterr().err == ""


def test_hidden_scores_become_nan():
    dataset = Dataset.from_dict({"input_ids": [[i] for i in range(4)], "labels": [0.5, -1.0, 2.5, 4.5]})
    labels = np.array(hide_labels(dataset, 2, seed=0)["labels"][:])
    assert np.isnan(labels).sum() == 2
    kept = ~np.isnan(labels)
    assert (labels[kept] == np.array(dataset["labels"][:])[kept]).all()


@pytest.mark.parametrize("share", [0.1, 0.4])
def test_rows_that_belong_together_are_held_out_together(share):
    queries = np.random.default_rng(1).permutation([f"q{n}" for n in range(20) for _ in range(5)]).tolist()
    dataset = Dataset.from_dict({"query": queries, "row": list(range(100))})
    remaining, held_out = hold_out(dataset, share, 0, together="query")
    assert not set(remaining["query"][:]) & set(held_out["query"][:])
    assert len(held_out) == 100 * share and sorted([*remaining["row"], *held_out["row"]]) == list(range(100))
    assert (
        held_out["row"][:] == sorted(held_out["row"][:]) == hold_out(dataset, share, 0, together="query")[1]["row"][:]
    )
    assert held_out["row"][:] != hold_out(dataset, share, 1, together="query")[1]["row"][:]


def test_one_group_cannot_be_parted():
    dataset = Dataset.from_dict({"query": ["q"] * 10})
    with pytest.raises(UserError, match="data.held_out=0.5 cannot be drawn: rows of one 'query' stay together"):
        hold_out(dataset, 0.5, 0, together="query")
