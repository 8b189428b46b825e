import numpy as np
import pytest
from support.glue_copies import ROWS, answers_in, glue_copy, model

from kdfeatures.benchmark.submission import check_submission
from kdfeatures.benchmark.submission.predict import predict_submission, submission_text
from kdfeatures.data.settings import DataSettings
from kdfeatures.errors import UserError


def data(folder):
    return DataSettings(path=str(folder), max_length=16)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("predicted")
    models = {
        "wnli": model(folder / "wnli_model", ["entailment", "not_entailment"], "entailment"),
        "mnli": model(folder / "mnli_model", ["contradiction", "entailment", "neutral"], "neutral"),
    }
    glue = data(glue_copy(folder / "glue", rows=ROWS))
    file = folder / "submission.zip"
    return models, glue, file, predict_submission(models, glue, file, batch_size=512)


def test_the_zip_is_valid_and_what_was_filled_is_named_with_the_reason(made):
    models, glue, file, found = made
    assert check_submission(file) == []
    assert found["predicted"] == {
        "WNLI": {"rows": 146, "model": models["wnli"]},
        "AX": {"rows": 1104, "model": models["mnli"]},
    }
    assert list(found["filled"]) == ["CoLA", "SST-2", "MRPC", "STS-B", "QQP", "MNLI-m", "MNLI-mm", "QNLI", "RTE"]
    assert found["filled"]["CoLA"] == "no model for cola"
    assert found["filled"]["MNLI-mm"] == "the data have no test_extra split of mnli"


def test_answers_follow_the_tasks_labels_whatever_the_order_of_the_model(made):
    _, _, file, _ = made
    assert set(answers_in(file, "WNLI")) == {"1"}  # entailment, which is class 0 of the model
    assert set(answers_in(file, "AX")) == {"neutral"}  # by the model for MNLI


def test_the_text_names_models_reasons_and_how_files_were_filled(made):
    models, _, file, found = made
    text = submission_text(found)
    assert any(line.startswith("| AX.tsv ") and models["mnli"] in line for line in text.splitlines())
    assert any(line.startswith("| CoLA.tsv ") and "filled: no model for cola" in line for line in text.splitlines())
    end = "CoLA, SST-2, MRPC, STS-B, QQP, MNLI-m, MNLI-mm, QNLI, RTE."
    assert text.endswith(f"first class for every example (STS-B: 0 and 5 in turn), which means nothing: {end}")
    assert "with those of other.zip: " in submission_text(found | {"sample": "other.zip"})


def test_rows_are_answered_in_the_order_of_their_index(tmp_path, monkeypatch):
    order = np.random.default_rng(0).permutation(146)
    glue = data(glue_copy(tmp_path / "glue", rows={"wnli": 146}, order=order))
    models = {"wnli": model(tmp_path / "model", ["not_entailment", "entailment"], "entailment")}

    def by_length(task, model, splits, *args, **kwargs):
        lengths = np.array([len(ids) for ids in splits["test"]["input_ids"]])
        return {"test": np.eye(2)[(lengths > lengths.min()).astype(int)]}

    monkeypatch.setattr("kdfeatures.benchmark.submission.predict.predict_splits", by_length)
    predict_submission(models, glue, tmp_path / "a.zip", batch_size=512)
    assert answers_in(tmp_path / "a.zip", "WNLI") == ["1" if row % 3 else "0" for row in range(146)]


@pytest.mark.parametrize(
    ("models", "told"),
    [
        ({"stsbb": "x"}, "no model for 'stsbb' is asked for; did you mean 'stsb'"),
        ({"ax": "x"}, "no model for 'ax' is asked for"),
        ({"cola": "/nowhere"}, "the model for cola=/nowhere: no such folder"),
    ],
)
def test_models_that_cannot_answer_are_refused_at_once(tmp_path, models, told):
    with pytest.raises(UserError, match=told):
        predict_submission(models, data(tmp_path), tmp_path / "a.zip", batch_size=1)


def test_what_exists_and_what_is_not_whole_are_refused_before_anything_is_predicted(made, tmp_path, monkeypatch):
    models, glue, file, _ = made
    monkeypatch.setattr("kdfeatures.benchmark.submission.predict.load_scored", None)
    with pytest.raises(UserError, match=r"submission.zip exists; remove it"):
        predict_submission(models, glue, file, batch_size=1)
    part = data(glue_copy(tmp_path / "part", rows={"wnli": 145, "ax": 1104}))
    with pytest.raises(UserError, match=r"WNLI.tsv needs 146 rows, but 145 were found"):
        predict_submission(models, part, tmp_path / "a.zip", batch_size=1)
    (tmp_path / "sample.zip").write_text("no zip")
    with pytest.raises(UserError, match=r"sample.zip cannot fill in CoLA.tsv"):
        predict_submission(models, glue, tmp_path / "a.zip", batch_size=1, sample=tmp_path / "sample.zip")
    twice = data(glue_copy(tmp_path / "twice", rows={"wnli": 146}, order=[0, *range(145)]))
    with pytest.raises(UserError, match="the column idx of wnli test does not number its rows from 0"):
        predict_submission({"wnli": models["wnli"]}, twice, tmp_path / "a.zip", batch_size=1)


def test_a_model_with_generic_class_names_is_refused(made, tmp_path):
    _, glue, _, _ = made
    generic = {"wnli": model(tmp_path / "generic", ["LABEL_0", "LABEL_1"], "LABEL_0")}
    with pytest.raises(UserError, match=r"generic class names .*; set id2label in its config.json$"):
        predict_submission(generic, glue, tmp_path / "a.zip", batch_size=64)
    assert not (tmp_path / "a.zip").exists()
