import numpy as np
import pytest
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score

from kdfeatures.evaluation.ranking import BY_QUERY, METRICS, mrr


def test_metrics_are_those_of_scikit_learn_ties_included():
    random = np.random.default_rng(3)
    for _ in range(20):
        scores, labels = random.integers(0, 6, 30) / 5, random.integers(0, 2, 30)
        expected = {
            "auc": roc_auc_score(labels, scores),
            "average_precision": average_precision_score(labels, scores),
            "accuracy": accuracy_score(labels, scores > 0.5),
            "f1": f1_score(labels, scores > 0.5),
        }
        assert {name: METRICS[name](scores, labels) for name in expected} == pytest.approx(expected)


def test_one_class_alone_is_worth_nothing():
    assert METRICS["auc"](np.array([0.1, 0.9]), np.ones(2)) == 0
    assert METRICS["average_precision"](np.array([0.1, 0.9]), np.zeros(2)) == 0
    assert mrr(np.array([0.1, 0.9]), np.zeros(2), np.zeros(2)) == 0


def test_reciprocal_ranks_by_hand():
    #              query 0: third   query 1: first   query 2: nothing relevant
    queries = np.array([0, 0, 0, 1, 1, 2])
    scores = np.array([0.9, 0.5, 0.2, 0.4, 0.1, 0.8])
    labels = np.array([0, 0, 1, 1, 0, 0])
    assert mrr(scores, labels, queries) == pytest.approx((1 / 3 + 1) / 2)
    assert mrr(scores, labels, queries, cut=2) == pytest.approx((0 + 1) / 2)
    order = np.array([5, 2, 4, 0, 3, 1])
    assert mrr(scores[order], labels[order], queries[order]) == pytest.approx((1 / 3 + 1) / 2)


def test_of_several_relevant_ones_the_best_counts_and_a_tie_is_ranked_behind():
    labels, queries = np.array([1, 1, 0, 0]), np.zeros(4)
    assert mrr(np.array([0.1, 0.8, 0.9, 0.2]), labels, queries) == pytest.approx(1 / 2)
    assert mrr(np.full(4, 0.3), labels, queries) == pytest.approx(1 / 3)


def test_the_cut_of_ten():
    scores, labels = -np.arange(12.0), np.eye(12)[10]
    assert BY_QUERY["mrr"](scores, labels, np.zeros(12)) == pytest.approx(1 / 11)
    assert BY_QUERY["mrr@10"](scores, labels, np.zeros(12)) == 0
