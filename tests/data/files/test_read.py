"""What people's files look like, and the right rows of each."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from kdfeatures.data.files import Columns, FileFormat, read_file, read_files
from kdfeatures.errors import UserError

COLUMNS = Columns(("text", "label"), ("text", "label"))
ROWS = [{"text": "a, b", "label": "01"}, {"text": "naïve", "label": "1"}, {"text": "null", "label": "NA"}]
CSV = 'text,label\n"a, b",01\nnaïve,1\nnull,NA\n'


def read(path, **layout):
    return (
        read_file(path, COLUMNS, "task.files.train", FileFormat(**layout)).select_columns(["text", "label"]).to_list()
    )


def refused(path, **layout):
    with pytest.raises(UserError) as caught:
        read(path, **layout)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    return str(caught.value)


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", CSV.encode()),
        ("a.csv", CSV.replace(",", ";").replace("a; b", "a, b").encode()),
        ("a.csv", CSV.replace(",", "|").replace("a| b", "a, b").encode()),
        ("a.csv", CSV.replace(",", "\t").replace("a\t b", "a, b").encode()),
        ("a.tsv", CSV.replace(",", "\t").replace("a\t b", "a, b").encode()),
        ("a.csv", ("sep=;\n" + CSV.replace(",", ";").replace("a; b", "a, b")).encode()),
        ("a.csv", CSV.replace("\n", "\r\n").encode()),
        ("a.csv", CSV.encode("utf-8-sig")),
        ("a.csv", CSV.encode("utf-16")),
        ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("a.CSV", CSV.encode()),
        ("a.csv", CSV.replace("label\n", "label,other,other\n").replace("01\n", "01,1,2\n").replace(",1\n", ",1,x,y\n")
                     .replace("NA\n", "NA,,\n").encode()),
        ("a.jsonl", lines(ROWS).encode()),
        ("a.json", json.dumps(ROWS).encode()),
        ("a.json", json.dumps(ROWS, indent=2).encode("utf-8-sig")),
        ("a.jsonl.gz", gzip.compress(lines(ROWS).encode(), mtime=0)),
        ("a.jsonl", lines([{**row, "meta": meta} for row, meta in zip(ROWS, (1, "x", [2]), strict=True)]).encode()),
        ("a.jsonl", lines([{**ROWS[0], "big": 10**400}, {**ROWS[1], "more": {"deep": [1]}}, ROWS[2]]).encode()),
    ],
)  # fmt: skip
def test_every_way_to_write_a_table_gives_its_rows(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert read(tmp_path / name) == ROWS


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv.gz", "no gzip", "cannot be read"),
        ("a.jsonl", lines([ROWS[0], {"text": "b"}]), "entry 1 has no 'label', which others have"),
        (
            "a.jsonl",
            lines([ROWS[0], {"text": 3, "label": "x"}]),
            "'text' of entry 1 is 3, which does not fit the others, such as 'a, b'",
        ),
        ("a.jsonl", '{"text": "a", "label": 1' + "0" * 400 + "}\n", "'label' of entry 0 is 1"),
        ("a.jsonl", "\n", "holds no example: it is empty"),
        ("a.json", "[]", "holds no example: it is empty"),
        ("a.jsonl", '{"text": "\\ud800", "label": "x"}\n', "which no column can hold"),
        (
            "a.json",
            json.dumps({"{a}{0}": ROWS}),
            "is one object and not one for each example; its examples may be the list '{a}{0}'",
        ),
        (
            "a.json",
            json.dumps({"data": ROWS}),
            "is one object and not one for each example; its examples may be the list 'data'",
        ),
        (
            "a.json",
            json.dumps({"data": ROWS}, indent=1),
            "is one object and not one for each example; its examples may be",
        ),
        ("a.json", "[" * 100_000, "is nested too deeply"),
        ("a.jsonl", "[1]\n", "must hold one object an example"),
        ("a.jsonl", "text\n", "is neither a JSON list nor JSON lines"),
        ("a.parquet", "no parquet", "is not a parquet file"),
        ("a.xlsx", "", "must end in .csv"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path, name, content, told):
    (tmp_path / name).write_text(content)
    assert told in refused(tmp_path / name)


def test_wide_types_of_other_programs_become_the_usual_ones(tmp_path):
    table = pyarrow.table({
        "text": pyarrow.array([["a", "b"]], pyarrow.large_list(pyarrow.large_string())),
        "label": pyarrow.array(["x"]).dictionary_encode(),
    })  # fmt: skip
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    found = read_file(tmp_path / "a.parquet", COLUMNS, "o")
    assert found.to_list() == [{"text": ["a", "b"], "label": "x"}]
    assert str(found.features["text"]) == "List(Value('string'))" and found.features["label"] == Value("string")


def shard(folder, number, labels, *, names=None, wide=False):
    kind = pyarrow.large_string() if wide else pyarrow.string()
    texts = pyarrow.array([f"t{n}" for n in labels], kind)
    ids = pyarrow.array(labels, pyarrow.int64() if wide else pyarrow.int32())
    made = Dataset(pyarrow.table({"text": texts, "label": ids}))
    if names:
        made = made.cast(Features(text=Value("string"), label=ClassLabel(names=names)))
    made.to_parquet(folder / f"part-{number}.parquet")


@pytest.mark.parametrize(
    "given", ["shards", "shards/*.parquet", "shards/**/*.parquet", ["shards/part-0.parquet", "shards/part-1.parquet"]]
)
def test_shards_are_read_whatever_their_widths_and_the_names_of_one_hold_for_all(tmp_path, given):
    folder = tmp_path / "shards"
    folder.mkdir()
    shard(folder, 0, [0, 1], names=["a", "b"])
    shard(folder, 1, [1], wide=True)
    for name in ("README.md", "_SUCCESS", ".hidden.parquet", "_part.parquet"):
        (folder / name).touch()
    whole = read_files(given, tmp_path, COLUMNS, "task.files.train")
    assert whole["text"][:] == ["t0", "t1", "t1"] and whole["label"][:] == [0, 1, 1]
    assert whole.features["label"] == ClassLabel(names=["a", "b"])


def test_columns_that_are_not_read_may_hold_anything(tmp_path):
    table = pyarrow.table(
        [
            pyarrow.array(["x"]),
            pyarrow.array([[("k", 1)]], pyarrow.map_(pyarrow.string(), pyarrow.int64())),
            ["a"],
            ["b"],
        ],
        names=["text", "meta", "twice", "twice"],
    )
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    columns = Columns(("text",), ("text",))
    assert read_file(tmp_path / "a.parquet", columns, "o").to_list() == [{"text": "x", "twice": "a"}]
    with pytest.raises(UserError, match="has the column 'twice' twice; rename one"):
        read_file(tmp_path / "a.parquet", Columns(("text", "twice")), "o")
    with pytest.raises(UserError, match="column 'meta' holds map<string, int64 .*>, which no task reads"):
        read_file(tmp_path / "a.parquet", Columns(("meta",)), "o")


@pytest.mark.parametrize("lacking", ["text", "label"])
@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_a_part_without_a_column_that_others_have_is_refused_and_not_filled_up(tmp_path, lacking, ending):
    for name, columns in (("a", ("text", "label")), ("b", tuple({"text", "label"} - {lacking}))):
        part = Dataset.from_dict({column: ["x"] for column in (*columns, "other")})
        {"csv": part.to_csv, "jsonl": part.to_json, "parquet": part.to_parquet}[ending](tmp_path / f"{name}.{ending}")
    with pytest.raises(
        UserError, match=rf"task.files.train: '.*b.{ending}' has no column '{lacking}', which '.*a.{ending}'"
    ):
        read_files(".", tmp_path, COLUMNS, "task.files.train")


def test_shards_of_other_class_names_are_refused(tmp_path):
    shard(tmp_path, 0, [0, 1], names=["a", "b"])
    shard(tmp_path, 1, [0, 1], names=["b", "a"])
    with pytest.raises(UserError, match="the files have other class names in 'label': a, b and b, a; make them equal"):
        read_files(".", tmp_path, COLUMNS, "task.files.train")


@pytest.mark.parametrize("given", ["none.csv", "none/*.csv", "empty", []])
def test_nothing_is_one_line(tmp_path, given):
    (tmp_path / "empty").mkdir()
    if given:
        with pytest.raises(UserError, match="check task.files.train"):
            read_files(given, tmp_path, COLUMNS, "task.files.train")


def test_what_save_to_disk_wrote_is_read(tmp_path):
    rows = Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    DatasetDict({"train": rows, "dev": rows.select([1])}).save_to_disk(tmp_path / "several")
    for given, split, expected in (("one", "train", ROWS), ("several", "train", ROWS), ("several", "dev", ROWS[1:2])):
        assert read_files(given, tmp_path, COLUMNS, "o", split=split).to_list() == expected
    with pytest.raises(UserError, match="holds the splits train, dev, but not 'test'"):
        read_files("several", tmp_path, COLUMNS, "task.files.test", split="test")
