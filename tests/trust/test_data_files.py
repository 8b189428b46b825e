"""Data files that are made to break a reader: one line that names the file, and no code of theirs runs."""

from __future__ import annotations

import pyarrow
import pyarrow.parquet
import pytest

from kdfeatures.data.load import load_task
from kdfeatures.errors import UserError
from kdfeatures.tasks.task import Task

DEEP = "[" * 100_000 + "]" * 100_000
DIGITS = "9" * 5000
FILES = {
    "deep.jsonl": '{"s": "a", "l": 0, "x": ' + DEEP + "}\n",
    "deep.json": DEEP,
    "huge.jsonl": '{"s": "a", "l": ' + DIGITS + '}\n{"s": "b", "l": 1}\n',
    "huge.csv": f"s,l\na,{DIGITS}\nb,1\n",
    "infinite.jsonl": '{"s": "a", "l": 1e999}\n{"s": "b", "l": 1}\n',
    "surrogate.jsonl": '{"s": "\\ud800 x", "l": 0}\n{"s": "b", "l": 1}\n',
    "twice.csv": "s,l,s\na,0,b\nb,1,c\n",
    "zero.csv": "s,l\na\0b,0\nb,1\n",
    "no_rows.csv": "s,l," + ",".join(f"c{n}" for n in range(20_000)) + "\n",
    "no_names.csv": ",,\n1,2,3\n",
    "no_label.jsonl": '{"s": "a", "l": NaN}\n{"s": "b", "l": 1}\n',
    "mixed.jsonl": '{"s": "a", "l": {"a": 1}}\n{"s": "b", "l": 1}\n',
    "bytes.parquet": b"PAR1" + b"x" * 100 + b"PAR1",
    "empty.parquet": b"",
    "cut.csv.gz": b"\x1f\x8b" + b"x" * 50,
}
METADATA = {
    "type.parquet": {b"huggingface": b'{"info": {"features": {"s": {"dtype": "nope", "_type": "Value"}}}}'},
    "bytes_in_it.parquet": {b"huggingface": b"\xff\xfe{", b"pandas": b"{"},
}


def task(**source):
    return Task(
        name="x", text=("s",), label="l", labels=("n", "y"), metrics=("accuracy",), splits={"train": "train"}, **source
    )


def refused(made, path):
    with pytest.raises(UserError) as caught:
        load_task(made, path, seed=0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_table_is_named(tmp_path, name):
    content = FILES[name]
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    told = refused(task(files={"train": name}), str(tmp_path))
    assert name in told or "split 'train'" in told


@pytest.mark.parametrize("name", METADATA)
def test_what_a_parquet_file_says_of_itself_is_not_believed(tmp_path, name):
    table = pyarrow.table({"s": ["a", "b"], "l": [0, 1]}).replace_schema_metadata(METADATA[name])
    pyarrow.parquet.write_table(table, tmp_path / name)
    assert name in refused(task(files={"train": name}), str(tmp_path))


def test_a_script_in_place_of_a_dataset_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange" / "strange.py").write_text("open('ran', 'w')")
    assert "scripts are no longer supported" in refused(task(dataset="./strange"), None)
    assert not (tmp_path / "ran").exists()
