import warnings

import numpy as np
import pytest
from sklearn.metrics import f1_score, matthews_corrcoef

from kdfeatures.errors import UserError
from kdfeatures.evaluation.metrics import (
    METRICS,
    f1,
    f1_macro,
    mcc,
    pearson,
    score,
    spearmanr,
)
from kdfeatures.tasks.task import Task

FACTS = {"name": "t", "text": ("s",), "label": "label", "splits": {"train": "train"}, "dataset": "x/y"}
PARAPHRASE = Task(labels=("no", "yes"), metrics=("accuracy", "f1"), **FACTS)
SIMILARITY = Task(labels=(), metrics=("pearson",), **FACTS)


@pytest.fixture
def binary():
    generator = np.random.default_rng(0)
    labels = (generator.random(211) < 0.3).astype(int)
    return np.where(generator.random(211) < 0.75, labels, 1 - labels), labels


@pytest.fixture
def scores():
    generator = np.random.default_rng(1)
    labels = generator.integers(0, 11, 97) / 2  # ties, as in STS-B
    return np.round(labels + generator.normal(size=97), 1), labels


def test_mcc_equals_the_formula_of_the_four_counts(binary):
    predictions, labels = binary
    tp, tn = ((predictions == k) & (labels == k) for k in (1, 0))
    fp, fn = ((predictions == k) & (labels != k) for k in (1, 0))
    tp, tn, fp, fn = (float(count.sum()) for count in (tp, tn, fp, fn))
    expected = (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)) ** 0.5
    assert mcc(predictions, labels) == pytest.approx(expected, rel=1e-12)


def test_f1_is_the_harmonic_mean_of_precision_and_recall_of_class_1(binary):
    predictions, labels = binary
    precision, recall = labels[predictions == 1].mean(), predictions[labels == 1].mean()
    assert f1(predictions, labels) == pytest.approx(2 / (1 / precision + 1 / recall), rel=1e-12)
    assert f1(1 - predictions, 1 - labels) != pytest.approx(f1(predictions, labels), rel=1e-3)


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_class_metrics_agree_with_scikit_learn(classes):
    generator = np.random.default_rng(classes)
    labels = generator.integers(classes, size=151)
    predictions = np.where(generator.random(151) < 0.6, labels, generator.integers(classes, size=151))
    assert mcc(predictions, labels) == pytest.approx(matthews_corrcoef(labels, predictions), rel=1e-12)
    macro = f1_score(labels, predictions, average="macro")
    assert f1_macro(predictions, labels) == pytest.approx(macro, rel=1e-12)
    if classes == 2:
        assert f1(predictions, labels) == pytest.approx(f1_score(labels, predictions), rel=1e-12)


def test_pearson_is_the_mean_product_of_standard_scores(scores):
    standard = [(values - values.mean()) / values.std() for values in scores]
    assert pearson(*scores) == pytest.approx(np.mean(standard[0] * standard[1]), rel=1e-12)


def test_spearman_is_pearson_of_ranks_with_ties_averaged(scores):
    ranks = [(values[:, None] > values).sum(1) + (values[:, None] == values).sum(1) / 2 for values in scores]
    assert spearmanr(*scores) == pytest.approx(np.corrcoef(*ranks)[0, 1], rel=1e-12)


def test_pearson_of_float32_is_computed_in_float64(scores):
    single = [values.astype(np.float32) for values in scores]
    double = [values.astype(np.float64) for values in single]
    assert pearson(*single) == pytest.approx(np.corrcoef(*double)[0, 1], rel=1e-12)


def test_correlations_of_outputs_that_hardly_vary_come_without_a_warning(scores):
    predictions, labels = scores
    hardly = np.float32(2.5) + np.float32(1e-6) * predictions.astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pearson(hardly, labels) == pytest.approx(pearson(predictions, labels), abs=0.05)
        assert spearmanr(hardly, labels) == pytest.approx(spearmanr(predictions, labels), abs=0.05)


@pytest.mark.parametrize("name", METRICS)
def test_a_perfect_answer_scores_1(name):
    labels = np.array([0, 1, 1, 0, 1])
    assert METRICS[name](labels, labels) == pytest.approx(1)


@pytest.mark.parametrize("name", ["mcc", "pearson", "spearmanr"])
@pytest.mark.parametrize("constant", [0, 1])
def test_constant_predictions_or_labels_score_0_without_a_warning(name, constant):
    varied, same = np.array([0, 1, 1, 0, 1]), np.full(5, constant)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert METRICS[name](same, varied) == 0
        assert METRICS[name](varied, same) == 0
        assert METRICS[name](same, same) == 0


def test_f1_is_0_and_silent_when_class_1_never_occurs():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert f1(np.zeros(4, int), np.zeros(4, int)) == 0


def test_several_metrics_come_with_their_mean(binary):
    result = score(("accuracy", "f1"), *binary)
    assert list(result) == ["accuracy", "f1", "combined_score"]
    assert result["combined_score"] == pytest.approx((result["accuracy"] + result["f1"]) / 2)
    assert list(score(("accuracy",), *binary)) == ["accuracy"]


def test_the_main_metric_is_a_key_of_the_score(binary):
    assert PARAPHRASE.main_metric == "combined_score"
    assert SIMILARITY.main_metric == "pearson"
    assert PARAPHRASE.main_metric in score(PARAPHRASE.metrics, *binary)


@pytest.mark.parametrize(
    ("metrics", "labels"), [(("accuracy",), [0, -1]), (("mcc",), [0, -100]), (("pearson",), [1.0, np.nan])]
)
def test_hidden_labels_are_refused(metrics, labels):
    with pytest.raises(UserError, match="1 of 2 labels are hidden"):
        score(metrics, [0, 1], labels)


def test_a_negative_score_is_not_a_hidden_label():
    assert score(("pearson",), [0.0, 1.0], [-1.0, 2.0])["pearson"] == pytest.approx(1)


@pytest.mark.parametrize(("predictions", "labels"), [([1, 0], [1]), ([], []), ([[1], [0]], [1, 0])])
def test_predictions_that_do_not_fit_the_labels_are_refused(predictions, labels):
    with pytest.raises(UserError, match="both must have one shape, with at least one example"):
        score(("accuracy",), predictions, labels)


def test_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(UserError, match="'spearman'; did you mean 'spearmanr'"):
        score(("spearman",), [0, 1], [0, 1])


def test_logits_become_class_ids_or_scores():
    assert PARAPHRASE.predictions_from_logits([[0.1, 2.0], [3.0, -1.0]]).tolist() == [1, 0]
    assert SIMILARITY.predictions_from_logits([[0.5], [4.5]]).tolist() == [0.5, 4.5]


def test_logits_of_a_diverged_model_are_refused():
    with pytest.raises(UserError, match="1 of 2 examples are not finite"):
        PARAPHRASE.predictions_from_logits([[np.nan, 0.0], [0.0, 1.0]])


def test_logits_of_another_width_are_refused():
    with pytest.raises(UserError, match=r"\(examples, 1\), got \(2, 2\)"):
        SIMILARITY.predictions_from_logits([[0.0, 1.0], [1.0, 0.0]])
