import json

import fsspec
import pytest
from support.object_stores import KINDS, object_store
from support.shared_data import glue_task

from kdfeatures.data.corpus import load_text
from kdfeatures.data.files import below, expand, local_copy
from kdfeatures.data.load import load_task
from kdfeatures.errors import UserError
from kdfeatures.tasks.task import Task


@pytest.fixture(params=KINDS)
def url(request, monkeypatch, tmp_path):
    monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path / "copies"))
    with object_store(request.param, monkeypatch) as url:
        yield url


def write(url, text):
    with fsspec.open(url, "w") as file:
        file.write(text)


def written(url):
    """Three tables: two that go together, and one in a folder of its own."""
    for name, rows in {"train-a.csv": 2, "train-b.csv": 3, "more/dev.csv": 1}.items():
        write(f"{url}/{name}", "text,label\n" + "".join(f"{name} {row},{row % 2}\n" for row in range(rows)))


def test_a_file_a_pattern_and_a_folder_are_what_they_are_behind_the_url(url):
    written(url)
    (file,) = expand(f"{url}/train-a.csv", None, "task.files.train")
    assert file.read_text() == "text,label\ntrain-a.csv 0,0\ntrain-a.csv 1,1\n"
    assert [path.name for path in expand(f"{url}/train-*.csv", None, "task.files.train")] == [
        "train-a.csv",
        "train-b.csv",
    ]
    assert [path.name for path in expand(f"{url}/more", None, "task.files.train")] == ["dev.csv"]
    assert expand("more/dev.csv", url, "task.files.train") == expand(f"{url}/more/dev.csv", None, "task.files.train")


def test_a_copy_is_fetched_again_when_the_original_has_changed_and_only_then(url, monkeypatch):
    written(url)
    system, _ = fsspec.url_to_fs(url)
    fetched = []
    plain = system.get_file
    monkeypatch.setattr(system, "get_file", lambda path, *more: fetched.append(path) or plain(path, *more))
    local_copy(url, "data.path")
    local_copy(url, "data.path")
    assert len(fetched) == 3
    write(f"{url}/train-a.csv", "text,label\nanother,1\n")
    assert "another" in expand(f"{url}/train-a.csv", None, "task.files.train")[0].read_text()
    assert len(fetched) == 4
    system.rm(system._strip_protocol(f"{url}/train-b.csv"))
    assert [path.name for path in expand(f"{url}/train-*.csv", None, "task.files.train")] == ["train-a.csv"]


def test_a_task_of_files_starts_from_a_url(url):
    written(url)
    task = Task(
        name="clauses",
        kind="sequence",
        text=("text",),
        label="label",
        labels=("0", "1"),
        metrics=("accuracy",),
        splits={"train": "train", "validation": "validation"},
        files={"train": "train-*.csv", "validation": "more"},
    )
    splits = load_task(task, url)
    assert splits["train"]["text"][:] == [f"train-a.csv {n}" for n in range(2)] + [f"train-b.csv {n}" for n in range(3)]
    assert splits["validation"]["label"][:] == [0]


def test_text_is_read_into_memory_or_as_a_stream_that_leaves_no_copy(url, tmp_path):
    write(f"{url}/a.txt", "one\n\ntwo\n")
    write(f"{url}/b.jsonl", "\n".join(json.dumps({"text": text}) for text in ("three", "four")))
    write(f"{url}/README.txt", "not a text")
    task = glue_task("text")
    stream = load_text(task, url, streaming=True)["train"]
    assert sorted(row["text"] for row in stream) == ["four", "one", "three", "two"]
    assert not list(tmp_path.rglob("*.txt"))
    assert sorted(load_text(task, url, streaming=False)["train"]["text"][:]) == ["four", "one", "three", "two"]
    assert list(tmp_path.rglob("a.txt"))


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.jsonl", '{"text": "one"}\n{"other": "two"}', r"line 2 of '.*/a.jsonl' has no 'text'; name the column"),
        ("a.jsonl", '{"text": "one"}\n{"text": 2}', "line 2 of .* 'text' must hold text, but holds 2"),
        ("a.jsonl", "one", "line 1 of '.*/a.jsonl' is no JSON object"),
        ("a.json", "[]", "a.json' cannot be streamed from a URL; write it as .txt, .jsonl or .parquet"),
    ],
)
def test_a_stream_names_the_line_that_is_wrong(monkeypatch, name, text, message):
    with object_store("memory", monkeypatch) as url:
        write(f"{url}/{name}", text)
        with pytest.raises(UserError, match=message):
            list(load_text(glue_task("text"), url, streaming=True)["train"])


def test_nothing_there_and_a_place_that_cannot_be_read_are_one_line(url):
    with pytest.raises(UserError, match=r"'.*/nothing.csv' is not a file, nor a folder with files; check data.path"):
        local_copy(f"{url}/nothing.csv", "data.path")
    with pytest.raises(UserError, match="data.path=s3x://bucket/a.csv: Protocol not known: s3x"):
        local_copy("s3x://bucket/a.csv", "data.path")


def test_what_is_on_this_machine_is_no_copy(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n")
    assert local_copy(f"file://{tmp_path}/a.csv", "data.path") == str(tmp_path / "a.csv")
    assert local_copy("some/a.csv", "data.path") == "some/a.csv"
    assert below(None, "a.csv") == below("", "a.csv") == "a.csv"
    assert below("s3://bucket/", "a.csv") == "s3://bucket/a.csv"
    assert below("s3://bucket", "gs://other/a.csv") == "gs://other/a.csv"
