from benchmarks.report import PAGE, newest, with_table
from benchmarks.step import JOBS


def test_the_pages_table_is_that_of_the_filed_results():
    text = PAGE.read_text(encoding="utf-8")
    assert with_table(text) == text


def test_every_peer_in_the_results_was_checked_to_have_the_same_gradient():
    for row in newest("step", "job", "variant", "batch", "length"):
        allowed = JOBS[row["job"]][row["variant"]].allowed
        assert bool(row["gradient_difference"]) == (allowed is not None)
        assert allowed is None or float(row["gradient_difference"]) < allowed
