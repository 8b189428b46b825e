import dataclasses

import pytest
from support.shared_data import glue_task

from kdfeatures.errors import UserError
from kdfeatures.tasks.columns import class_ids, known_class

RTE = glue_task("rte")


def task(*labels):
    return dataclasses.replace(RTE, labels=labels)


@pytest.mark.parametrize(
    ("labels", "given", "expected"),
    [
        (("1", "01"), ["1", "01", "01"], [0, 1, 1]),
        (("-1", "1"), ["-1", "1", -1, 1], [0, 1, 0, 1]),  # a name wins over the marker of hidden labels
        (("bad", "good"), ["bad", 1, "0", -1, "-1", " 1", "good ", " -1"], [0, 1, 0, -1, -1, 1, 1, -1]),
        (("a", " a"), [" a", "a", "a "], [1, 0, 0]),
        (("1.0", "2.0"), ["1.0", 2.0, 1.0], [0, 1, 0]),
        (("1", "2", "3"), [1.0, 3, "2"], [0, 2, 1]),
        (("True", "False"), [True, False, "True"], [0, 1, 0]),
        (("true", "false"), [True, "false"], [0, 1]),
        (("2024-01-01", "2024-01-02"), ["2024-01-02"], [1]),
        (("007", "7"), ["007", "7", 7], [0, 1, 1]),
    ],
)
def test_a_label_is_the_class_that_is_written_like_it(labels, given, expected):
    assert class_ids(given, None, "train", task(*labels)) == expected


@pytest.mark.parametrize(
    ("labels", "given"),
    [
        (("1", "01"), "001"),
        (("1", "2"), "1.0"),
        (("bad", "good"), "1.0"),
        (("bad", "good"), 1.0),
        (("bad", "good"), "01"),
        (("bad", "good"), True),
        (("bad", "good"), 2),
        (("bad", "good"), "Good"),
        (("-1", "+1"), 1),
        (("True", "False"), "true"),
        (("bad", "good"), None),
        (("bad", "good"), ""),
    ],
)
def test_anything_else_is_no_class(labels, given):
    assert known_class(given, task(*labels)) is None
    with pytest.raises(UserError, match="row 1 of split 'train' has the label .*; task 'rte' takes "):
        class_ids([labels[0], given], None, "train", task(*labels))
