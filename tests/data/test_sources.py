import json
import shutil
import time
from dataclasses import replace

import pytest
from datasets import ClassLabel, Dataset, Features, Value
from huggingface_hub import constants

from kdfeatures.data.load import load_task, split_of
from kdfeatures.errors import UserError
from kdfeatures.hub import reach as hub
from kdfeatures.tasks.task import Task

PAIRS = Task(
    name="pairs",
    config="pairs",
    dataset="someone/pairs",
    text=("a", "b"),
    label="label",
    labels=("no match", "match"),
    metrics=("accuracy",),
    splits={"train": "train", "validation": "dev"},
)
FILES = replace(PAIRS, config=None, dataset=None, splits={"train": "train"}, files={"train": "x.csv"})
SCORES = replace(FILES, labels=(), metrics=("pearson",))


def table(labels=(0, 1)):
    count = len(labels)
    return Dataset.from_dict({"a": ["x"] * count, "b": ["y"] * count, "label": list(labels)})


@pytest.fixture
def hub_copy(tmp_path):
    folder = tmp_path / "pairs"
    folder.mkdir()
    table([0, 1, 1]).to_parquet(folder / "train-00000-of-00002.parquet")
    table([0]).to_parquet(folder / "train-00001-of-00002.parquet")
    table([-1]).to_parquet(folder / "dev-00000-of-00001.parquet")
    return tmp_path


def write_csv(folder, text):
    (folder / "x.csv").write_text(text, encoding="utf-8")
    return str(folder)


def test_a_copy_in_the_layout_of_the_hub_loads_with_all_shards(hub_copy):
    data = load_task(PAIRS, str(hub_copy))
    assert data["train"]["label"][:] == [0, 1, 1, 0]
    assert data["train"].features["label"] == ClassLabel(names=["no match", "match"])
    assert split_of(data, PAIRS, "validation")["label"][:] == [-1]


def test_reading_a_copy_leaves_nothing_in_the_cache(hub_copy):
    assert all(not split.cache_files for split in load_task(PAIRS, str(hub_copy)).values())


def test_a_split_that_is_not_there_is_missed_only_when_asked_for(hub_copy):
    (hub_copy / "pairs" / "dev-00000-of-00001.parquet").unlink()
    data = load_task(PAIRS, str(hub_copy))
    with pytest.raises(UserError, match="lack the split 'dev'; there is train"):
        split_of(data, PAIRS, "validation")


def test_a_missing_shard_is_refused(hub_copy):
    (hub_copy / "pairs" / "train-00001-of-00002.parquet").unlink()
    with pytest.raises(UserError, match="has 1 of the 2 files of 'train'"):
        load_task(PAIRS, str(hub_copy))


def test_missing_folders_and_splits_are_named_with_what_is_there(hub_copy):
    with pytest.raises(UserError, match="data.path='/nowhere' is not a folder"):
        load_task(PAIRS, "/nowhere")
    with pytest.raises(UserError, match="has no folder 'other'; it has pairs"):
        load_task(replace(PAIRS, config="other"), str(hub_copy))
    with pytest.raises(UserError, match="no parquet file of the splits test .*; it has dev, train"):
        load_task(replace(PAIRS, splits={"test": "test"}), str(hub_copy))


def test_a_broken_parquet_file_is_refused(hub_copy):
    (hub_copy / "pairs" / "dev-00000-of-00001.parquet").write_bytes(b"version https://git-lfs")
    with pytest.raises(UserError, match="dev-00000-of-00001.parquet' is not a parquet file"):
        load_task(PAIRS, str(hub_copy))


def test_a_csv_text_that_looks_like_a_number_or_a_missing_value_stays_text(tmp_path):
    path = write_csv(tmp_path, 'a,b,label\nNA,"two\nlines, one comma",match\n12,None,no match\n')
    train = load_task(FILES, path)["train"]
    assert train["a"][:] == ["NA", "12"]
    assert train["b"][:] == ["two\nlines, one comma", "None"]
    assert train["label"][:] == [1, 0]


def test_a_csv_text_may_cross_the_blocks_that_are_read_at_once(tmp_path):
    texts = [f"{row} " + "a line\n" * 1000 for row in range(400)]  # 2.8 MB
    rows = "".join(f'"{text}",q,1\n' for text in texts)
    assert load_task(FILES, write_csv(tmp_path, "a,b,label\n" + rows))["train"]["a"][:] == texts


@pytest.mark.parametrize("name", ["x.json", "x.jsonl"])
@pytest.mark.parametrize("as_list", [True, False])
def test_json_files_may_be_a_list_or_lines(tmp_path, name, as_list):
    # U+2028 ends a line for str.splitlines, but not in JSON lines
    records = [{"a": "p", "b": "q\u2028r", "label": 1}, {"a": "s", "b": "t", "label": 0}]
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    (tmp_path / name).write_text(json.dumps(records) if as_list else lines, encoding="utf-8")
    train = load_task(replace(FILES, files={"train": name}), str(tmp_path))["train"]
    assert (train["b"][:], train["label"][:]) == (["q\u2028r", "t"], [1, 0])


def test_a_parquet_file_of_ones_own_loads(tmp_path):
    table().to_parquet(tmp_path / "mine.parquet")
    data = load_task(replace(FILES, files={"train": "mine.parquet"}), str(tmp_path))
    assert data["train"]["label"][:] == [0, 1]


def test_numbers_that_name_classes_are_not_taken_for_ids(tmp_path):
    path = write_csv(tmp_path, "a,b,label\np,q,1\np,q,3\n")
    task = replace(FILES, labels=("1", "2", "3"))
    assert load_task(task, path)["train"]["label"][:] == [0, 2]
    with pytest.raises(UserError, match="row 1 of split 'train' has the label '0'; .* takes 1, 2, 3, or -1"):
        load_task(task, write_csv(tmp_path, "a,b,label\np,q,1\np,q,0\n"))


def test_scores_may_be_whole_numbers(tmp_path):
    train = load_task(SCORES, write_csv(tmp_path, "a,b,label\np,q,1\np,q,3\n"))["train"]
    assert train["label"][:] == [1.0, 3.0]
    assert train.features["label"] == Value("float32")


@pytest.mark.parametrize(
    ("task", "text", "message"),
    [
        (FILES, "a,b,lable\np,q,1\n", "has no column 'label'; did you mean 'lable'"),
        (FILES, "a,b,label\n", "split 'train' of task 'pairs' has no examples"),
        (FILES, "", "is not a CSV file with a header line: it is empty"),
        (FILES, "a,b,label\np,q\n", "line 2 has 2 fields, the header 3"),
        (FILES, "a,b,label\np,q,0\np,q,2\n", "row 1 of split 'train' has the label '2'"),
        (FILES, "a,b,label\np,q,-2\n", "row 0 of split 'train' has the label '-2'"),
        (FILES, "a,b,label\np,q,matsch\n", "the label 'matsch'; .* did you mean 'match'"),
        (FILES, "a,b,label\np,q,1\np,q,\n", "row 1 of split 'train' has the label (''|None)"),
        (FILES, "a,b,label\np,q,1.0\n", "has the label '1.0'"),
        (SCORES, "a,b,label\np,q,high\n", "the label 'high'; regression needs a number"),
        (SCORES, "a,b,label\np,q,1\np,q,\n", "row 1 of split 'train' has the label (''|None)"),
    ],
)
def test_a_file_that_does_not_fit_the_task_is_refused(tmp_path, task, text, message):
    with pytest.raises(UserError, match=message) as raised:
        load_task(task, write_csv(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_text_column_of_numbers_is_refused(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"a": 1, "b": "q", "label": 1}', encoding="utf-8")
    with pytest.raises(UserError, match="column 'a' of split 'train' must hold text, but holds int64"):
        load_task(replace(FILES, files={"train": "x.jsonl"}), str(tmp_path))


@pytest.mark.parametrize("text", ["[1, 2]", "{broken", '{"a": 1}\n3\n'])
def test_json_that_holds_no_objects_is_refused(tmp_path, text):
    (tmp_path / "x.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.json' (must hold one object an example|is neither)"):
        load_task(replace(FILES, files={"train": "x.json"}), str(tmp_path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"x\.csv' is not a file; check task\.files"):
        load_task(FILES, str(tmp_path))


@pytest.mark.parametrize(
    "names", [("1", "01"), ("1", "1.0"), ("True", "true"), ("2020-01-01", "2020-1-1"), ("NA", "null"), ("1e3", "1000")]
)
def test_class_names_keep_their_spelling_in_a_csv(tmp_path, names):
    rows = "".join(f"p,q,{name}\n" for name in names)
    path = write_csv(tmp_path, f"a,b,label\n{rows}{rows}")
    assert load_task(replace(FILES, labels=names), path)["train"]["label"][:] == [0, 1, 0, 1]


def test_ids_of_classes_are_read_from_the_text_of_a_csv(tmp_path):
    path = write_csv(tmp_path, "a,b,label\np,q,1\np,q, 0\np,q,-1\np,q,match\n")
    assert load_task(FILES, path)["train"]["label"][:] == [1, 0, -1, 1]


def test_only_the_numbers_of_a_csv_are_numbers(tmp_path):
    path = write_csv(tmp_path, "idx,a,b,label\n007,p,2020-01-01,1\n07,p,q,-2.5e-1\n")
    train = load_task(SCORES, path)["train"]
    assert train["idx"][:] == ["007", "07"] and train["label"][:] == [1.0, -0.25]


def test_classes_in_another_order_than_the_task_are_matched_by_name(tmp_path):
    given = table().cast(Features(a=Value("string"), b=Value("string"), label=ClassLabel(names=["match", "no match"])))
    given.to_parquet(tmp_path / "mine.parquet")
    loaded = load_task(replace(FILES, files={"train": "mine.parquet"}), str(tmp_path))["train"]
    assert loaded.features["label"].names == ["no match", "match"]
    by_name = [[dataset.features["label"].names[n] for n in dataset["label"]] for dataset in (loaded, given)]
    assert by_name[0] == by_name[1]


class NoNetwork:
    def head(self, *args, **kwargs):
        raise ConnectionError("name or service not known")


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    # as without the environment variable that these tests run with
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(hub, "get_session", NoNetwork)
    monkeypatch.setattr(hub, "_answered", {})
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def test_without_network_the_hub_fails_at_once_with_the_fix(no_network):
    start = time.monotonic()
    with pytest.raises(UserError, match="'someone/pairs' .* give a local copy with data.path=FOLDER"):
        load_task(PAIRS)
    assert time.monotonic() - start < 2
    assert constants.HF_HUB_OFFLINE is False


def test_without_network_a_dataset_in_the_cache_still_loads(no_network, hub_copy):
    # made by the builder for parquet, and then renamed to what the builder for the Hub leaves behind
    Dataset.from_parquet(str(hub_copy / "pairs" / "train-*"), cache_dir=str(hub_copy / "made"))
    [made] = [path.parent for path in (hub_copy / "made").rglob("dataset_info.json")]
    info = json.loads((made / "dataset_info.json").read_text(encoding="utf-8"))
    info |= {"dataset_name": "pairs", "config_name": "pairs"}
    (made / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    [arrow] = made.glob("*.arrow")
    arrow.rename(made / "pairs-train.arrow")
    shutil.copytree(made, no_network / "someone___pairs" / "pairs" / "0.0.0" / "0123456789abcdef")
    assert load_task(PAIRS)["train"]["label"][:] == [0, 1, 1, 0]
