import datasets
import pytest

from kdfeatures.data.sources import dataset_from_hub
from kdfeatures.hub.data import commit_of_data, remember_commit
from kdfeatures.tasks.task import Task

NAME = "org/pairs"
TASK = Task(
    name="pairs",
    dataset=NAME,
    text=("a",),
    label="label",
    labels=("no", "yes"),
    metrics=("accuracy",),
    splits={"train": "train"},
)


@pytest.fixture
def commits(hub, tmp_path):
    """Those of a dataset's main and of what main was before."""
    made = []
    for version, words in (("v1", ["one", "two"]), ("v2", ["three", "four"])):
        rows = datasets.Dataset.from_dict({"a": words, "label": [0, 1]})
        rows.to_parquet(tmp_path / version / "data" / "train-00000-of-00001.parquet")
        made.append(hub.add(NAME, tmp_path / version, kind="datasets"))
    return made


def read(revision=None, **options):
    return dataset_from_hub(NAME, TASK, streaming=False, revision=revision, **options)["train"]["a"][:]


def test_the_commit_is_that_of_the_rows_whether_fetched_or_cached(commits, forget):
    before, now = commits
    assert commit_of_data(NAME) is None
    for _ in range(2):
        assert read() == ["three", "four"] and commit_of_data(NAME) == now
        forget()
    assert read(before) == ["one", "two"]
    assert commit_of_data(NAME, before) == before and commit_of_data(NAME) is None


def test_a_folder_of_the_cache_with_another_name_is_no_commit():
    split = datasets.Dataset.from_dict({"a": ["one"]})
    remember_commit("org/in_memory", None, {"train": split})
    assert commit_of_data("org/in_memory") is None
