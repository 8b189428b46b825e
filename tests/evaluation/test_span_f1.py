import pytest

from kdfeatures.evaluation.span_f1 import exact_match, normalized, token_f1


def test_case_articles_punctuation_and_blanks_are_left_out():
    assert normalized("  The  U.S. Army, a\tforce ") == "us army force"
    assert normalized("another theory") == "another theory"  # a and the inside of words stay


@pytest.mark.parametrize(
    ("answer", "references", "exact", "f1"),
    [
        ("the garden", ["Garden."], 1.0, 1.0),
        ("in the old garden", ["garden"], 0.0, 2 * 1 / (3 + 1)),  # in old garden against garden
        ("garden", ["house", "garden wall"], 0.0, 2 * 1 / (1 + 2)),
        ("house garden", ["garden house"], 0.0, 1.0),
        ("house house", ["house"], 0.0, 2 * 1 / (2 + 1)),
        ("", [], 1.0, 1.0),
        ("garden", [], 0.0, 0.0),
        ("", ["garden"], 0.0, 0.0),
        ("the", ["a"], 1.0, 1.0),  # nothing is left of both
    ],
)
def test_scores_by_hand(answer, references, exact, f1):
    assert exact_match(answer, references) == exact
    assert token_f1(answer, references) == pytest.approx(f1)
