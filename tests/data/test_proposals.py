import json

import pytest
from datasets import ClassLabel, Dataset, Features, List, Value

from kdfeatures.data.proposals import natural_order, proposed
from kdfeatures.errors import UserError


def node(file, **more):
    return {"name": "mine", "text": ["t"], "label": "l", "files": {"train": file}, "kind": "sequence"} | more


def of_values(folder, values, **more):
    (folder / "train.csv").write_text("t,l\n" + "".join(f"text {n},{value}\n" for n, value in enumerate(values)))
    return proposed(node("train.csv", **more), folder)


@pytest.mark.parametrize(
    ("values", "labels", "metrics"),
    [
        (["b", "a", "-1", "a", "b"], ["a", "b"], ["accuracy"]),
        (["10", "9", "1", "9", "10"], ["1", "9", "10"], ["accuracy"]),
        (["01", "1"] * 3, ["01", "1"], ["accuracy"]),
        (["v10", "v2", "V1"] * 3, ["V1", "v2", "v10"], ["accuracy"]),
        (["True", "False"] * 3, ["False", "True"], ["accuracy"]),
        (["ok"] * 9 + ["bad"], ["bad", "ok"], ["accuracy", "f1_macro"]),
        ([f"{n / 4}" for n in range(30)], [], ["pearson", "spearmanr"]),
        (["1.5", "2", "3"] * 4, [], ["pearson", "spearmanr"]),
        ([str(n) for n in range(40)], [], ["pearson", "spearmanr"]),
    ],
)
def test_a_column_of_text_tells_classes_in_natural_order_or_scores(tmp_path, values, labels, metrics):
    assert of_values(tmp_path, values) == {"labels": labels, "metrics": metrics}


def test_what_is_given_stays(tmp_path):
    assert of_values(tmp_path, ["a", "b"], labels=["b", "a"]) == {"labels": ["b", "a"], "metrics": ["accuracy"]}
    assert of_values(tmp_path, ["a", "b"], metrics=["mcc"]) == {"labels": ["a", "b"], "metrics": ["mcc"]}


def test_the_columns_own_class_names_keep_their_order(tmp_path):
    features = Features(t=Value("string"), l=ClassLabel(names=["z", "a"]))
    Dataset.from_dict({"t": ["x", "y"], "l": [0, 1]}, features=features).to_parquet(tmp_path / "a.parquet")
    assert proposed(node("a.parquet"), tmp_path)["labels"] == ["z", "a"]


def test_tags_begin_with_o_and_are_scored_by_entities(tmp_path):
    rows = [{"t": ["x"] * 5, "l": ["I-PER", "O", "B-LOC", "B-PER", "O"]}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert proposed(node("a.jsonl", kind="tokens"), tmp_path) == {
        "labels": ["O", "B-LOC", "B-PER", "I-PER"],
        "metrics": ["entity_f1"],
    }
    features = Features(t=List(Value("string")), l=List(ClassLabel(names=["NOUN", "VERB"])))
    Dataset.from_dict({"t": [["x"]], "l": [[1]]}, features=features).to_parquet(tmp_path / "b.parquet")
    assert proposed(node("b.parquet", kind="tokens"), tmp_path) == {"labels": ["NOUN", "VERB"], "metrics": ["accuracy"]}


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["a", "a"], "holds only 'a', so its classes cannot be proposed; write task.labels"),
        (["-1", "-1"], "holds no label, so its classes"),
        ([f"name {n}" for n in range(8)], "holds 8 different values, too many to be classes; write task.labels"),
    ],
)
def test_a_column_that_does_not_tell_is_one_line(tmp_path, values, told):
    with pytest.raises(UserError, match=told):
        of_values(tmp_path, values)


def test_a_test_split_tells_nothing(tmp_path):
    with pytest.raises(UserError, match="cannot be proposed without a training file"):
        proposed({**node("x"), "files": {"train": None, "test": "train.csv"}}, tmp_path)


def test_names_are_sorted_as_people_do():
    names = ["b10", "b9", "10", "2", "-1", "a", "B1"]
    assert sorted(names, key=natural_order) == ["-1", "2", "10", "a", "B1", "b9", "b10"]
