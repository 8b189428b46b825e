import pytest
from support.shared_data import glue_task

from kdfeatures.tasks.glue_sizes import EXAMPLES, is_partial, official_count

TASKS = ("cola", "sst2", "mrpc", "stsb", "qqp", "mnli", "qnli", "rte", "wnli")


@pytest.mark.parametrize("name", TASKS)
def test_every_validation_split_of_glue_has_its_count(name):
    task = glue_task(name)
    for split in {"validation", "extra"} & set(task.splits):
        assert official_count(task, split) in EXAMPLES.values()
    assert official_count(task, "test") is None


def test_what_is_not_known_is_not_partial():
    task = glue_task("mnli")
    assert is_partial(task, "extra", 9815) and not is_partial(task, "extra", 9832)
    assert not is_partial(task, "extra", None) and not is_partial(task, "test", 5)
