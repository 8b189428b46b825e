from collections import Counter

import numpy as np
import pytest
from support.shared_data import glue_folder, glue_task

from kdfeatures.data.load import load_task, split_of


# majority-class accuracy in percent and number of examples, from the data's own README
@pytest.mark.parametrize(
    ("name", "split", "examples", "majority"),
    [
        ("cola", "validation", 1043, 69.1),
        ("sst2", "validation", 872, 50.9),
        ("mrpc", "validation", 408, 68.4),
        ("rte", "validation", 277, 52.7),
        ("wnli", "validation", 71, 56.3),
        ("qnli", "validation", 5463, 50.5),
        ("mnli", "validation", None, 35.9),
        ("mnli", "extra", None, 34.6),
        ("qqp", "validation", None, 64.1),
    ],
)
def test_real_glue_splits_have_their_known_size_and_majority(name, split, examples, majority):
    task = glue_task(name)
    data = split_of(load_task(task, str(glue_folder())), task, split)
    assert examples is None or len(data) == examples
    labels = data["label"][:]
    assert round(100 * max(Counter(labels).values()) / len(labels), 1) == majority


@pytest.mark.parametrize(
    ("name", "split", "counts"),
    [("cola", "train", [2528, 6023]), ("sst2", "train", [29780, 37569]), ("mrpc", "train", [1194, 2474])]
    + [("rte", "train", [1249, 1241]), ("wnli", "train", [323, 312]), ("mrpc", "test", [578, 1147])],
)
def test_real_glue_class_names_sit_on_the_right_ids(name, split, counts):
    task = glue_task(name)
    data = split_of(load_task(task, str(glue_folder())), task, split)
    assert np.bincount(data["label"][:]).tolist() == counts
    assert tuple(data.features["label"].names) == task.labels


def test_real_stsb_is_read_as_scores_from_0_to_5():
    task = glue_task("stsb")
    data = load_task(task, str(glue_folder()))
    assert np.mean(data["train"]["label"][:]) == pytest.approx(2.701, abs=5e-4)
    assert np.mean(data["validation"]["label"][:]) == pytest.approx(2.364, abs=5e-4)
    assert set(data["test"]["label"]) == {-1.0}
