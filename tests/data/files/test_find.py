"""Which files a user's value means, and which of them cannot be meant together."""

import pytest

from kdfeatures.data.files import expand
from kdfeatures.errors import UserError


@pytest.fixture
def folder(tmp_path):
    def made(*names):
        for name in names:
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        return tmp_path

    return made


@pytest.mark.parametrize("given", [".", "*.csv", ["a.csv", "b.csv"]])
def test_files_are_those_of_a_folder_a_pattern_or_a_list(folder, given):
    place = folder("a.csv", "b.csv", "README.csv.txt", ".c.csv", "_d.csv")
    assert [path.name for path in expand(given, place, "o")] == ["a.csv", "b.csv"]


def test_pages_about_the_data_are_no_data(folder, caplog):
    caplog.set_level("INFO")
    place = folder("a.txt", "README.txt", "LICENSE.txt", "license_plates.csv")
    assert [path.name for path in expand(".", place, "o", (".txt",))] == ["a.txt"]
    assert "README.txt is not read as data" in caplog.text


@pytest.mark.parametrize(
    ("names", "given", "told"),
    [
        (("a.csv", "b.csv"), ["a.csv", "*.csv"], r"o means '.*a.csv' 2 times, so its rows would count 2 times"),
        (("a.csv",), ["a.csv", "a.csv", "a.csv"], r"'.*a.csv' 3 times"),
        (("train.csv", "dev.csv"), ".", r"several splits: train.csv \(train\), dev.csv \(validation\); name those"),
        (("my_train-1.csv", "my_test-1.csv"), "*.csv", r"several splits: my_test-1.csv \(test\), my_train-1.csv"),
        (("a.csv", "a.jsonl"), ".", r"several endings, such as a.csv, a.jsonl, which may be the same rows twice"),
        (("train.parquet", "train-00000-of-00001.parquet"), ".",
         "has train.parquet beside train-00000-of-00001.parquet, which may be the same rows twice"),
        (("train-00000-of-00002.parquet",), "*.parquet", "has 1 of the 2 files of 'train'; fetch the others"),
        (("t-00000-of-00001.parquet", "t-00000-of-00002.parquet", "t-00001-of-00002.parquet"), ".",
         "has files of 't' that say they are of 2 and of another count"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_meant_together_are_named(folder, names, given, told):
    with pytest.raises(UserError, match=told) as caught:
        expand(given, folder(*names), "o")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("a.csv", "b.csv.gz"), "."),
        (("train-00000-of-00002.parquet", "train-00001-of-00002.parquet"), "."),
        (("latest_news.csv", "trained.csv"), "."),  # no words for splits
        (("train.csv", "dev.csv"), ["train.csv", "dev.csv"]),  # as the user says
        (("a/x.csv", "b/x.csv"), "*/x.csv"),
    ],
)
def test_parts_of_one_table_are_read_together(folder, names, given):
    assert len(expand(given, folder(*names), "o")) == 2
