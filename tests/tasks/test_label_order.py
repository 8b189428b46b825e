import numpy as np
import pytest

from kdfeatures.errors import UserError
from kdfeatures.tasks.label_order import align_labels

MNLI = ("entailment", "neutral", "contradiction")


def test_mnli_logits_in_another_order_come_out_in_glue_order():
    columns = align_labels({0: "CONTRADICTION", 1: "NEUTRAL", 2: "ENTAILMENT"}, MNLI, whose="teacher")
    logits = np.array([[0.1, 0.2, 0.7]])  # sure of entailment, which this model has last
    assert logits[:, columns].tolist() == [[0.7, 0.2, 0.1]]


def test_a_cycle_of_classes_is_not_inverted():
    id2label = {0: "neutral", 1: "contradiction", 2: "entailment"}
    columns = align_labels(id2label, MNLI, whose="teacher")
    assert [id2label[column] for column in columns] == list(MNLI)


def test_ids_order_the_names_and_not_the_mapping():
    assert align_labels({"1": "b", "0": "a"}, ("a", "b"), whose="teacher") == [0, 1]


def test_eleven_classes_are_ordered_by_number_and_not_by_text():
    labels = [f"class {chr(97 + i)}" for i in range(11)]
    id2label = {str(i): label for i, label in enumerate(labels)}
    assert align_labels(id2label, labels, whose="teacher") == list(range(11))


@pytest.mark.parametrize("name", ["not_entailment", "NOT ENTAILMENT", "Not-Entailment", "notEntailment"])
def test_case_spaces_underscores_and_hyphens_do_not_matter(name):
    columns = align_labels({0: name, 1: "entailment"}, ("entailment", "not_entailment"), whose="teacher")
    assert columns == [1, 0]


@pytest.mark.parametrize("names", [("LABEL_0", "LABEL_1", "LABEL_2"), ("0", "1", "2")])
def test_generic_names_are_refused_with_both_fixes(names):
    with pytest.raises(UserError, match=r"teacher has the generic class names .*id2label.*teacher\.force"):
        align_labels(dict(enumerate(names)), MNLI, whose="teacher")


def test_the_fix_names_the_option_of_the_command():
    with pytest.raises(UserError, match=r"with model\.force=true"):
        align_labels({0: "LABEL_0", 1: "LABEL_1"}, ("no", "yes"), whose="model", option="model.force")


def test_force_takes_generic_names_in_their_order():
    id2label = {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert align_labels(id2label, MNLI, whose="teacher", force=True) == [0, 1, 2]


def test_force_still_follows_names_that_match():
    columns = align_labels({0: "match", 1: "no match"}, ("no_match", "match"), whose="teacher", force=True)
    assert columns == [1, 0]


def test_a_task_whose_own_names_are_generic_is_matched_by_them():
    assert align_labels({0: "LABEL_1", 1: "LABEL_0"}, ("label_0", "label_1"), whose="teacher") == [1, 0]


@pytest.mark.parametrize("names", [("entailment", "neutral", "other"), ("neutral", "Neutral", "entailment")])
def test_other_names_are_refused_with_both_lists(names):
    with pytest.raises(UserError, match=f"{', '.join(names)}, but .* entailment, neutral, contradiction"):
        align_labels(dict(enumerate(names)), MNLI, whose="teacher")


@pytest.mark.parametrize(
    ("names", "labels", "expected"),
    [
        (["c", "C"], ["C", "c"], [1, 0]),
        (["A-", "A"], ["A", "A-"], [1, 0]),
        (["C++", "C", "C-"], ["C", "C-", "C++"], [1, 2, 0]),
        (["A", "Not-Entailment", "a"], ["a", "not_entailment", "A"], [2, 1, 0]),
        (["-1", "1"], ["1", "-1"], [1, 0]),
    ],
)
def test_equal_names_come_first_and_the_loose_comparison_only_where_it_is_clear(names, labels, expected):
    assert align_labels(dict(enumerate(names)), labels, whose="teacher") == expected
    assert align_labels(dict(enumerate(labels)), labels, whose="teacher") == list(range(len(labels)))


@pytest.mark.parametrize(
    ("names", "labels"), [(["c", "C"], ["C ", "c-"]), (["A", "a"], ["b", "a"]), (["1", "2"], ["-1", "2"])]
)
def test_names_that_do_not_tell_are_refused(names, labels):
    with pytest.raises(UserError, match="has the "):
        align_labels(dict(enumerate(names)), labels, whose="teacher")


@pytest.mark.parametrize("force", [False, True])
def test_another_number_of_classes_is_refused_with_both_numbers(force):
    with pytest.raises(UserError, match=r"has 2 classes \(a, b\), but the task has 3"):
        align_labels({0: "a", 1: "b"}, MNLI, whose="teacher", force=force)


def test_regression_takes_one_output_whatever_its_name():
    assert align_labels({0: "LABEL_0"}, (), whose="teacher") == [0]
    with pytest.raises(UserError, match="has 2 outputs, but regression needs 1"):
        align_labels({0: "LABEL_0", 1: "LABEL_1"}, (), whose="teacher")
