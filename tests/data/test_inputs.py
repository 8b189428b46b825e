import dataclasses

import pytest
from datasets import Dataset, DatasetDict
from support.shared_data import glue_task

from kdfeatures.data.inputs import TaskData
from kdfeatures.data.settings import DataSettings
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.errors import UserError

MNLI = glue_task("mnli")


def data(*names):
    """Task data whose splits have one example, or two for a second split."""
    rows = {name: 2 if "mismatched" in name else 1 for name in names}
    raw = {
        name: Dataset.from_dict({"premise": ["the dog slept"] * n, "hypothesis": ["the dog"] * n, "label": [0] * n})
        for name, n in rows.items()
    }
    return TaskData(MNLI, DatasetDict(raw), tokenizer(), 32)


@pytest.mark.parametrize(
    ("split", "second"),
    [("validation", "extra"), ("test", "test_extra")],
)
def test_mnli_is_reported_matched_and_mismatched(split, second):
    names = MNLI.splits
    reported = data(names[split], names[second]).reported(split)
    assert {name: len(examples) for name, examples in reported.items()} == {split: 1, second: 2}


def test_a_second_split_that_is_not_there_is_left_out():
    assert list(data("validation_matched").reported("validation")) == ["validation"]


def test_a_task_without_second_split_reports_one():
    task = dataclasses.replace(MNLI, splits={"validation": "validation_matched"})
    one = dataclasses.replace(data("validation_matched", "validation_mismatched"), task=task)
    assert list(one.reported("validation")) == ["validation"]


def test_augmentation_that_knows_no_word_is_one_line():
    inputs = data("train")
    with pytest.raises(UserError, match="augmentation altered no word of the training examples"):
        inputs.train(DataSettings(), 0, lambda rows, columns: rows.select([]))
