"""Files of a teacher's answers: what they may look like, and what is refused."""

import dataclasses

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from support.shared_data import glue_task

from kdfeatures.data.predictions_file import read_answers, write_answers
from kdfeatures.errors import UserError

RTE, STSB = glue_task("rte"), glue_task("stsb")  # entailment, not_entailment; a score
SHARES = [[0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]


def softmax(logits):
    weights = np.exp(logits - logits.max(1, keepdims=True))
    return weights / weights.sum(1, keepdims=True)


def saved(path, **columns):
    made = Dataset.from_dict(columns)
    {".parquet": made.to_parquet, ".csv": made.to_csv, ".jsonl": made.to_json}[path.suffix](path)
    return path


def answers(path, task=RTE):
    return read_answers(path, task, "teacher.outputs=F")


def refused(path, task=RTE):
    with pytest.raises(UserError) as caught:
        answers(path, task)
    assert "\n" not in str(caught.value) and "teacher.outputs=F" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_lists_are_in_the_order_of_the_tasks_labels(tmp_path, ending, kind):
    rows = np.log([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5]]) if kind == "logits" else np.array(SHARES)
    (found,) = answers(saved(tmp_path / f"f.{ending}", id=[7, 8, 9], **{kind: rows.tolist()})).values()
    assert found.ids == ["7", "8", "9"] and found.logits.dtype == np.float32
    np.testing.assert_allclose(softmax(found.logits), softmax(rows) if kind == "logits" else SHARES, atol=1e-6)
    assert found.softened == (kind == "probabilities")


def test_columns_named_by_label_may_come_in_any_order(tmp_path):
    path = saved(
        tmp_path / "f.csv",
        **{"probabilities.not_entailment": [0.75, 0.0], "id": ["a", "b"], "probabilities.entailment": [0.25, 1.0]},
    )
    np.testing.assert_allclose(softmax(answers(path)["train"].logits), SHARES[:2], atol=1e-6)


@pytest.mark.parametrize("labels", [["not_entailment", "entailment"], [1, 0], ["1", "0"]])
def test_a_label_is_a_certain_distribution_at_every_temperature(tmp_path, labels):
    found = answers(saved(tmp_path / "f.csv", id=[0, 1], label=labels))["train"]
    for temperature in (1, 2, 8):
        np.testing.assert_array_equal(softmax(found.logits / temperature), [[0, 1], [1, 0]])
    assert np.isfinite(found.logits).all() and found.softened


def test_labels_that_are_numbers_are_names_and_not_ids(tmp_path):
    stars = dataclasses.replace(RTE, labels=("1", "2"))
    found = answers(saved(tmp_path / "f.csv", id=[0, 1], label=[1, 2]), stars)["train"]
    assert found.logits.argmax(1).tolist() == [0, 1]
    assert "has the label '0'; task 'rte' takes 1, 2." in refused(saved(tmp_path / "g.csv", id=[0], label=[0]), stars)


@pytest.mark.parametrize("columns", [{"label": [2.5, -1.0]}, {"logits": [[2.5], [-1.0]]}])
def test_a_regression_has_scores(tmp_path, columns):
    found = answers(saved(tmp_path / "f.parquet", id=[0, 1], **columns), STSB)["train"]
    assert found.logits.tolist() == [[2.5], [-1.0]] and not found.softened


def test_rounded_probabilities_are_made_to_sum_to_one(tmp_path):
    found = answers(saved(tmp_path / "f.parquet", id=[0], probabilities=[[0.333, 0.662]]))["train"]
    np.testing.assert_allclose(softmax(found.logits)[0], np.array([0.333, 0.662]) / 0.995, atol=1e-6)


def test_a_column_split_or_a_folder_holds_several_splits(tmp_path):
    logits = [[0.0, 1.0], [2.0, 3.0]]
    path = saved(tmp_path / "f.parquet", id=[0, 0], split=["train", "validation"], logits=logits)
    folder = tmp_path / "folder"
    for split, row in zip(("train", "validation"), logits, strict=True):
        write_answers(folder / f"{split}.parquet", ["0"], np.array([row]), RTE)
    for found in (answers(path), answers(folder)):
        assert list(found) == ["train", "validation"]
        assert [one.logits.tolist() for one in found.values()] == [logits[:1], logits[1:]]


def test_a_pattern_and_what_save_to_disk_wrote_hold_answers(tmp_path):
    for name, ids in (("a", ["1", "02"]), ("b", ["2"])):
        saved(tmp_path / f"{name}.csv", id=ids, label=[0] * len(ids))
    assert answers(tmp_path / "*.csv")["train"].ids == ["1", "02", "2"]
    part = Dataset.from_dict({"id": [3, 4], "label": [1, 0]})
    part.save_to_disk(tmp_path / "one")
    DatasetDict({"train": part, "validation": part.select([0])}).save_to_disk(tmp_path / "several")
    assert {split: found.ids for split, found in answers(tmp_path / "one").items()} == {"train": ["3", "4"]}
    assert {split: found.ids for split, found in answers(tmp_path / "several").items()} == {
        "train": ["3", "4"],
        "validation": ["3"],
    }


def test_answers_that_were_written_belong_to_the_names_of_their_classes(tmp_path):
    logits = np.array([[0.0, 1.0], [2.0, 3.0]])
    write_answers(tmp_path / "f.parquet", ["0", "1"], logits, RTE)
    other = dataclasses.replace(RTE, labels=RTE.labels[::-1])
    assert answers(tmp_path / "f.parquet", other)["train"].logits.tolist() == logits[:, ::-1].tolist()
    colliding = dataclasses.replace(RTE, labels=("A-", "A"))
    write_answers(tmp_path / "g.parquet", ["0", "1"], logits, colliding)
    turned = answers(tmp_path / "g.parquet", dataclasses.replace(RTE, labels=("A", "A-")))["train"]
    assert turned.logits.tolist() == logits[:, ::-1].tolist()


def test_scores_that_were_written_come_back(tmp_path):
    write_answers(tmp_path / "f.parquet", ["0", "1"], np.array([[0.5], [2.0]]), STSB)
    assert answers(tmp_path / "f.parquet", STSB)["train"].logits.tolist() == [[0.5], [2.0]]


LOGITS = [[0.0, 1.0]] * 3


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"id": [1, 2, 1], "logits": LOGITS}, "(train) has 2 rows with the id 1"),
        ({"idx": [1, 2, 3], "logits": LOGITS}, "needs a column 'id'"),
        ({"id": [], "logits": []}, "it has 0 rows"),
        ({"id": [1, 2, 3], "scores": LOGITS}, "none of the columns logits, probabilities, label; it has id, scores"),
        ({"id": [1], "logits": [[0.0, 1.0, 2.0]]}, "id 1 has 3 logits, but task 'rte' has 2 (entailment, not_ent"),
        ({"id": [1], "logits": [[0.0, float("nan")]]}, "logits of id 1 are [0.0, nan], but must be finite"),
        ({"id": [1], "logits": ["[0, 1]"]}, "logits of id 1 is no list; in a CSV give a column for each: logits.LABEL"),
        ({"id": [1, 2], "probabilities": [[0.5, 0.5], [0.5, 0.6]]}, "of id 2 are [0.5, 0.6], with the sum 1.1"),
        ({"id": [1], "probabilities": [[-0.5, 1.5]]}, "they must be 0 or more"),
        ({"id": [1], "label": ["maybe"]}, "id 1 has the label 'maybe'; task 'rte' takes entailment, not_entailment, 0"),
        ({"id": [1], "logits.entailment": [1.0], "logits.other": [2.0]}, "has the columns logits.entailment, logits.o"),
    ],
)
def test_what_cannot_be_an_answer_is_named(tmp_path, columns, message):
    assert message in refused(saved(tmp_path / "f.parquet", **columns))


def test_probabilities_and_words_are_no_scores(tmp_path):
    assert "is a regression" in refused(saved(tmp_path / "f.parquet", id=[1], probabilities=[[1.0]]), STSB)
    assert "'much', but a regression" in refused(saved(tmp_path / "g.parquet", id=[1], label=["much"]), STSB)


def test_files_that_are_not_there_or_twice_are_named(tmp_path):
    assert "is not a file" in refused(tmp_path / "none.parquet")
    assert "is a folder without train.parquet" in refused(tmp_path)
    for ending in ("csv", "jsonl"):
        saved(tmp_path / f"train.{ending}", id=[1], label=["entailment"])
    assert "has both train.csv and train.jsonl" in refused(tmp_path)
    assert "must end in .csv" in refused(saved(tmp_path / "f.csv", id=[1]).rename(tmp_path / "f.xlsx"))
