import zipfile
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import pearsonr
from support.shared_data import glue_task

from kdfeatures.benchmark.submission import FILES, answers, check_submission, write_submission
from kdfeatures.errors import UserError

WNLI = ["1"] * 100 + ["0"] * 46


def lines(file, member):
    with zipfile.ZipFile(file) as opened:
        return opened.read(member).decode().split("\n")


@pytest.mark.parametrize(
    ("name", "split", "logits", "said"),
    [
        ("cola", "test", [[2, 1], [1, 2]], ["0", "1"]),
        ("wnli", "test", [[1, 2]], ["1"]),
        ("qnli", "test", [[2, 1], [1, 2]], ["entailment", "not_entailment"]),
        ("rte", "test", [[1, 2]], ["not_entailment"]),
        ("mnli", "test", [[3, 1, 2], [1, 3, 2], [1, 2, 3]], ["entailment", "neutral", "contradiction"]),
        ("mnli", "test_extra", [[1, 3, 2]], ["neutral"]),
        ("ax", "test", [[1, 2, 3]], ["contradiction"]),
        ("stsb", "test", [[-0.2], [2.5], [5.1]], ["0.000000", "2.500000", "5.000000"]),
    ],
)
def test_logits_become_what_the_server_wants(name, split, logits, said):
    assert answers(glue_task(name), split, np.array(logits, dtype=np.float32)) == said


@pytest.mark.parametrize("logits", [np.zeros((2, 3)), np.zeros(2)])
def test_logits_of_another_shape_are_refused(logits):
    with pytest.raises(UserError, match=r"CoLA.tsv needs logits of 2 classes, but their shape is \("):
        answers(glue_task("cola"), "test", logits)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_logits_of_a_diverged_model_are_refused(value):
    with pytest.raises(UserError, match=r"CoLA.tsv: the logits of 1 of 2 examples are not finite, the first of row 1"):
        answers(glue_task("cola"), "test", np.array([[0, 1], [0, value]]))


def test_a_task_without_a_file_is_refused():
    with pytest.raises(UserError, match="no file of a GLUE submission answers reviews test"):
        answers(replace(glue_task("cola"), name="reviews"), "test", np.zeros((2, 2)))


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    file = tmp_path_factory.mktemp("made") / "deeper" / "submission.zip"
    return file, write_submission(file, {"WNLI": WNLI})


def test_the_zip_is_flat_and_valid_and_what_was_filled_is_named(written):
    file, filled = written
    assert filled == [one.name for one in FILES if one.name != "WNLI"]
    with zipfile.ZipFile(file) as opened:
        assert opened.namelist() == [one.member for one in FILES]
    assert check_submission(file) == []
    assert [path.name for path in file.parent.iterdir()] == ["submission.zip"]


def test_given_answers_stand_below_the_header_in_their_order(written):
    expected = ["index\tprediction", *(f"{row}\t{answer}" for row, answer in enumerate(WNLI)), ""]
    assert lines(written[0], "WNLI.tsv") == expected


def test_filled_scores_have_a_correlation_with_anything():
    (stsb,) = [one for one in FILES if one.name == "STS-B"]
    scores = np.array(stsb.fill, dtype=float)
    assert np.isfinite(pearsonr(scores, np.arange(len(scores))).statistic)


def test_equal_answers_give_equal_bytes(written, tmp_path):
    write_submission(tmp_path / "again.zip", {"WNLI": WNLI})
    assert (tmp_path / "again.zip").read_bytes() == written[0].read_bytes()


def test_missing_files_come_from_a_sample_where_there_is_one(written, tmp_path):
    other = ["0"] * 146
    assert "WNLI" in write_submission(tmp_path / "a.zip", {"AX": ["neutral"] * 1104}, sample=written[0])
    assert lines(tmp_path / "a.zip", "WNLI.tsv") == lines(written[0], "WNLI.tsv")
    assert lines(tmp_path / "a.zip", "AX.tsv")[1] == "0\tneutral"
    write_submission(tmp_path / "b.zip", {"WNLI": other}, sample=written[0])
    assert lines(tmp_path / "b.zip", "WNLI.tsv")[1] == "0\t0"


def test_a_sample_that_cannot_fill_is_refused_before_anything_is_written(tmp_path):
    with zipfile.ZipFile(tmp_path / "sample.zip", "w") as made:
        made.writestr("WNLI.tsv", "index\tprediction\n")
    with pytest.raises(UserError, match=r"sample.zip cannot fill in CoLA.tsv: is missing"):
        write_submission(tmp_path / "a.zip", {"WNLI": WNLI}, sample=tmp_path / "sample.zip")
    (tmp_path / "text.zip").write_text("no zip")
    with pytest.raises(UserError, match=r"text.zip cannot fill in CoLA.tsv: .*is not a zip file"):
        write_submission(tmp_path / "a.zip", {"WNLI": WNLI}, sample=tmp_path / "text.zip")
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"WNLI": ["0"] * 145}, "WNLI.tsv needs 146 rows, but 145 were found; answer the whole test split of wnli"),
        ({"STSB": WNLI}, "a submission has no file 'STSB'; did you mean 'STS-B'"),
        ({"WNLI": ["2", *WNLI[1:]]}, "WNLI.tsv: row 0 answers something else than one of 0, 1: '2'"),
        ({"STS-B": ["5.5"] * 1379}, r"STS-B.tsv: row 0 answers .* a number from 0 to 5: '5.5' \(1379 rows do\)"),
    ],
)
def test_answers_that_the_server_would_refuse_are_not_written(tmp_path, given, told):
    with pytest.raises(UserError, match=told):
        write_submission(tmp_path / "a.zip", given)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_exists_is_overwritten_only_when_told(tmp_path):
    file = tmp_path / "a.zip"
    file.write_text("precious")
    with pytest.raises(UserError, match=r"a.zip exists; remove it, or choose another name"):
        write_submission(file, {"WNLI": WNLI})
    assert file.read_text() == "precious"
    write_submission(file, {"WNLI": WNLI}, overwrite=True)
    assert lines(file, "WNLI.tsv")[1] == "0\t1"
    with pytest.raises(UserError, match="is a folder; name a file"):
        write_submission(tmp_path, {}, overwrite=True)


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "a.zip"
    file.write_text("precious")

    def full(*args):
        raise OSError("no space left")

    monkeypatch.setattr(zipfile.ZipFile, "writestr", full)
    with pytest.raises(OSError, match="no space left"):
        write_submission(file, {"WNLI": WNLI}, overwrite=True)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.zip", "precious")]
