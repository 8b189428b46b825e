import pytest
from support.shared_data import glue_task

from kdfeatures.data.unlabeled import read_pool
from kdfeatures.errors import UserError

SST2, RTE, STSB = glue_task("sst2"), glue_task("rte"), glue_task("stsb")


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(path, task=SST2):
    with pytest.raises(UserError) as caught:
        read_pool(path, task)
    assert "\n" not in str(caught.value) and f"data.pool={path}" in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pool.txt", "one dog\n\n  \ntwo cats\n"),
        ("pool.csv", "label,sentence\n1,one dog\n0,two cats\n"),
        ("pool.jsonl", '{"sentence": "one dog", "label": "good"}\n{"sentence": "two cats", "label": null}\n'),
    ],
)
def test_every_text_is_an_example_whose_label_is_hidden(tmp_path, name, text):
    pool = read_pool(written(tmp_path / name, text), SST2)
    assert pool["sentence"][:] == ["one dog", "two cats"] and pool["label"][:] == [-1, -1]


def test_pairs_and_scores_come_from_a_table(tmp_path):
    path = written(tmp_path / "pool.csv", "sentence1,sentence2\none,two\n")
    assert read_pool(path, RTE)["label"][:] == [-1]
    assert read_pool(path, STSB)["label"][:] == [-1.0]


def test_what_cannot_be_a_pool_is_named(tmp_path):
    text = written(tmp_path / "pool.txt", "one\n")
    assert "has one text a line, but task 'rte' reads sentence1, sentence2" in refused(text, RTE)
    assert "no column 'sentence'; did you mean 'sentences'?" in refused(written(tmp_path / "p.csv", "sentences\na\n"))
    assert "must hold text, but holds int64" in refused(written(tmp_path / "n.jsonl", '{"sentence": 3}\n'))
    assert "has no examples" in refused(written(tmp_path / "e.txt", "\n\n"))
    assert "is not a file" in refused(str(tmp_path / "none.txt"))
    assert "is not a file" in refused(str(tmp_path / "none.csv"))
    (tmp_path / "latin.txt").write_bytes("naïve".encode("latin-1"))
    with pytest.raises(UserError, match="is not utf-8 text: byte 0xef in line 1; it may be cp1252"):
        read_pool(str(tmp_path / "latin.txt"), SST2)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pool.csv", "sentence,id\na,007\nb,7\n"),
        ("pool.jsonl", '{"sentence": "a", "id": "007"}\n{"sentence": "b", "id": "7"}\n'),
    ],
)
def test_ids_of_a_pool_are_read_as_they_are_written(tmp_path, name, text):
    assert read_pool(written(tmp_path / name, text), SST2, ("id",))["id"][:] == ["007", "7"]


def test_a_pattern_means_all_its_texts(tmp_path):
    written(tmp_path / "a.txt", "one\n"), written(tmp_path / "b.txt", "two\n")
    assert read_pool(str(tmp_path / "*.txt"), SST2)["sentence"][:] == ["one", "two"]
