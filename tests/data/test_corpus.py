import json

import pytest
from datasets import Dataset, DatasetDict, IterableDataset, load_dataset
from support.shared_data import task_config

from kdfeatures.data import sources
from kdfeatures.data.corpus import held_out, in_memory, load_text
from kdfeatures.errors import UserError
from kdfeatures.tasks.task import Task

TASK = Task.from_config(task_config("text"))


def task(**reading):
    return Task.from_config(task_config("text") | {"reading": task_config("text")["reading"] | reading})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "a.txt").write_text("one\n\n  \ntwo\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text('{"text": "three", "n": 1}\n{"text": "", "n": 2}\n', encoding="utf-8")
    Dataset.from_dict({"text": ["four", "five"], "other": [1, 2]}).to_parquet(tmp_path / "more" / "c.parquet")
    (tmp_path / "validation.txt").write_text("six\n", encoding="utf-8")
    (tmp_path / "README.md").write_text("not a text\n", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize("streaming", [False, True])
def test_all_files_of_a_folder_are_read_without_blank_texts(folder, streaming):
    found = load_text(TASK, str(folder), streaming=streaming)
    assert isinstance(found["train"], IterableDataset) is streaming
    texts = {split: [row["text"] for row in rows] for split, rows in found.items()}
    assert sorted(texts["train"]) == ["five", "four", "one", "three", "two"]
    assert texts["validation"] == ["six"]
    assert all(list(row) == ["text"] for row in found["train"])


def test_one_file_is_training_text(folder):
    assert load_text(TASK, str(folder / "a.txt"), streaming=False)["train"]["text"][:] == ["one", "two"]


@pytest.mark.parametrize("streaming", [False, True])
def test_another_column_is_read_by_its_name(tmp_path, streaming):
    (tmp_path / "a.jsonl").write_text(json.dumps({"line": "one"}) + "\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("two", encoding="utf-8")
    named = Task.from_config(task_config("text") | {"text": ["line"]})
    found = load_text(named, str(tmp_path), streaming=streaming)["train"]
    assert sorted(row["line"] for row in found) == ["one", "two"]
    with pytest.raises(UserError, match="has no column 'text'.* .it has line.; name it with task.text"):
        load_text(TASK, str(tmp_path), streaming=streaming)


def numbered(count):
    return Dataset.from_dict({"text": [str(number) for number in range(count)]})


def test_texts_held_out_are_spread_evenly_and_no_longer_trained_on():
    found = held_out({"train": numbered(10)}, task(held_out=4))
    assert found["validation"]["text"][:] == ["0", "2", "5", "7"]
    assert found["train"]["text"][:] == ["1", "3", "4", "6", "8", "9"]


def test_of_a_stream_the_first_texts_are_held_out():
    found = held_out({"train": numbered(10).to_iterable_dataset()}, task(held_out=3))
    assert in_memory(found["validation"])["text"][:] == ["0", "1", "2"]
    assert [row["text"] for row in found["train"]] == [str(number) for number in range(3, 10)]


def test_a_validation_split_that_is_there_is_taken():
    given = {"train": numbered(5), "validation": numbered(2)}
    assert held_out(given, TASK) == given
    assert held_out({"train": given["train"]}, task(held_out=0)) == {"train": given["train"]}


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda folder: None, "task 'text' needs text: give data.path=FILE, FOLDER or HUB_ID"),
        (lambda folder: str(folder / "README.md"), "holds no text; it takes files that end in .txt, .json"),
        (lambda folder: "nobody/nothing", "'nobody/nothing'"),
    ],
)
def test_a_path_without_text_is_refused(folder, make, told):
    with pytest.raises(UserError) as caught:
        load_text(TASK, make(folder), streaming=False)
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_holding_out_all_there_is_is_refused():
    with pytest.raises(UserError, match="task.reading.held_out=500 leaves nothing of 10 training texts"):
        held_out({"train": numbered(10)}, TASK)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"reading": {"blocks": True}}, "the task lacks reading.masked; set task.reading.masked="),
        ({"reading": {"mask": 1}}, "unknown key task.reading.mask; did you mean 'masked'"),
        ({"reading": None}, "lacks the section reading of conf/task/text.yaml"),
        ({"metrics": ["accuracy"]}, "has the metric masked_accuracy and no other"),
        ({"dataset": "someone/text"}, "takes no task.dataset; its text is data.path"),
        ({"label": "label"}, "task 'text' of kind text has task.label=label"),
        ({"text": ["a", "b"]}, "give task.text one, as kind text has it"),
    ],
)
def test_a_text_task_that_contradicts_itself_is_refused(change, told):
    with pytest.raises(UserError) as caught:
        Task.from_config(task_config("text") | change)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [1, "yes", None])
def test_masking_once_is_true_or_false(value):
    with pytest.raises(UserError, match=f"task.reading.masked_once={value} must be true or false"):
        task(masked_once=value)


def test_a_reading_that_does_not_say_so_masks_anew():
    reading = {name: value for name, value in task_config("text")["reading"].items() if name != "masked_once"}
    assert Task.from_config(task_config("text") | {"reading": reading}).text_reading.masked_once is False


@pytest.mark.parametrize(("name", "value"), [("masked", 0.0), ("masked", 1.5), ("held_out", -1), ("shuffle", 0)])
def test_numbers_out_of_range_are_refused(name, value):
    with pytest.raises(UserError, match=f"task.reading.{name}={value} must be"):
        task(**{name: value})


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_dataset_gives_the_splits_of_the_task_and_its_text_column(tmp_path, monkeypatch, streaming):
    # a repository as the Hub has it, with more columns and splits, where the library would have fetched it
    repository = tmp_path / "repository"
    for split, rows in {"train": ["one", " ", "two"], "validation": ["three"], "extra": ["four"]}.items():
        Dataset.from_dict({"text": rows, "url": rows}).to_parquet(
            repository / "data" / f"{split}-00000-of-00001.parquet"
        )
    asked = []

    def fetched(name, config, **options):
        asked.append((name, config))
        return load_dataset(str(repository), config, cache_dir=str(tmp_path / "cache"), **options)

    monkeypatch.setattr(sources, "load_dataset", fetched)
    found = load_text(TASK, "someone/corpus", streaming=streaming)
    assert asked == [("someone/corpus", None)]
    assert {split: list(texts) for split, texts in found.items()} == {
        "train": [{"text": "one"}, {"text": "two"}],
        "validation": [{"text": "three"}],
    }


@pytest.mark.parametrize("streaming", [False, True])
def test_a_pattern_and_what_save_to_disk_wrote_are_text(folder, tmp_path, streaming):
    def texts(path):
        found = load_text(TASK, str(path), streaming=streaming)
        return {split: [row["text"] for row in rows] for split, rows in found.items()}

    assert texts(folder / "*.txt") == {"train": ["one", "two"], "validation": ["six"]}
    assert texts(folder / "**" / "*.parquet") == {"train": ["four", "five"]}
    one = Dataset.from_dict({"text": ["a", ""]})
    one.save_to_disk(tmp_path / "one")
    DatasetDict({"train": one, "test": one, "other": one}).save_to_disk(tmp_path / "several")
    assert texts(tmp_path / "one") == {"train": ["a"]}
    assert texts(tmp_path / "several") == {"train": ["a"], "test": ["a"]}


@pytest.mark.parametrize("streaming", [False, True])
def test_an_encoding_is_found_or_asked_for_before_training(tmp_path, streaming):
    (tmp_path / "a.txt").write_bytes("naïve\n".encode("utf-16"))
    (tmp_path / "b.txt").write_bytes("café\n".encode())
    found = load_text(TASK, str(tmp_path), streaming=streaming)["train"]
    assert [row["text"] for row in found] == ["naïve", "café"]
    (tmp_path / "c.txt").write_bytes("café\n".encode("cp1252"))
    with pytest.raises(
        UserError, match="c.txt' is not utf-8 text: byte 0xe9 in line 1; it may be cp1252: task.encoding"
    ):
        load_text(TASK, str(tmp_path), streaming=streaming)
    named = Task.from_config(task_config("text") | {"encoding": "cp1252"})
    assert [row["text"] for row in load_text(named, str(tmp_path / "c.txt"), streaming=streaming)["train"]] == ["café"]
