import dataclasses

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy import stats
from support.kind_tasks import EMBEDDING as TASK
from support.tagged import pieces_tokenizer
from support.tiny import tiny_config
from transformers import AutoModel, EvalPrediction

from kdfeatures.data.load import encode, with_label_column
from kdfeatures.data.subsets import is_labelled
from kdfeatures.embeddings.pooling import Pooling, give_vectors
from kdfeatures.errors import Diverged, UserError
from kdfeatures.tasks.registry import task_type

KIND = task_type(TASK)
PAIRS = {
    "one": ["ada met alan", "in york", "the garden", "grace slept"],
    "other": ["alan met ada", "the garden", "in the garden near york", "hopper"],
    "score": [4.0, 1.0, 3.0, 2.5],
}


def read(columns, task=TASK):
    dataset = with_label_column(Dataset.from_dict(columns), task, "train", is_train=True)
    return KIND.as_read(KIND.checked(dataset, task, "train"), task)


def encoded(columns=PAIRS):
    dataset, task = read(columns)
    return encode(dataset, pieces_tokenizer(), task, 16)


def test_every_text_of_a_pair_is_a_row_and_carries_the_pairs_label():
    dataset, task = read(PAIRS)
    assert dataset[:4]["text"] == ["ada met alan", "alan met ada", "in york", "the garden"] and task.text == ("text",)
    assert encoded()["labels"][:] == [4.0, 4.0, 1.0, 1.0, 3.0, 3.0, 2.5, 2.5]
    assert KIND.count(encoded()) == 4 and KIND.labels(encoded()).tolist() == [4.0, 1.0, 3.0, 2.5]


@pytest.mark.parametrize("columns", [["one"], ["one", "other"]])
def test_texts_without_labels_are_enough_to_train_on(columns):
    dataset = encoded({name: PAIRS[name] for name in columns})
    assert len(dataset) == 4 * len(columns) and not is_labelled(dataset).any()


def test_answers_are_the_cosines_of_the_pairs():
    torch.manual_seed(0)
    model = AutoModel.from_config(tiny_config("bert")).eval()
    give_vectors(model, Pooling("mean"))
    answers = KIND.predict(model, encoded(), pieces_tokenizer(), None, task=TASK, batch_size=3, title="test")

    def vector(text):
        states = model(**pieces_tokenizer()(text, return_tensors="pt")).last_hidden_state[0]
        return states.mean(0).detach().double().numpy()

    for answer, one, other in zip(answers[:, 0], PAIRS["one"], PAIRS["other"], strict=True):
        a, b = vector(one), vector(other)
        assert answer == pytest.approx(a @ b / np.sqrt((a @ a) * (b @ b)), abs=1e-6)
    scores = KIND.score(answers, encoded(), TASK)
    assert scores["spearmanr"] == pytest.approx(stats.spearmanr(answers[:, 0], PAIRS["score"]).statistic)
    assert scores["pearson"] == pytest.approx(stats.pearsonr(answers[:, 0], PAIRS["score"]).statistic, abs=1e-6)


def test_the_trainer_and_a_cache_have_the_vectors():
    vectors = np.random.default_rng(0).normal(size=(8, 5)).astype(np.float32)
    by_cache = KIND.of_cached(vectors, encoded())
    np.testing.assert_array_equal(KIND.gathered(EvalPrediction(vectors, np.zeros(8)), encoded(), TASK), by_cache)


def test_a_vector_of_zeros_is_like_no_other_and_broken_ones_are_told():
    assert KIND.of_cached(np.array([[0.0, 0.0], [1.0, 0.0]]), encoded()).tolist() == [[0.0]]
    with pytest.raises(Diverged, match="the vectors of 1 of 2 texts are not finite"):
        KIND.of_cached(np.array([[np.nan, 0.0], [1.0, 0.0]]), encoded())


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"two": ["a"]}, "needs texts in its column 'one'; it has 1 rows of two"),
        ({"one": ["ada"], "score": [3.0]}, "has labels in 'score', but no second text in 'other'"),
        ({"one": [1], "other": [2]}, "column 'one' of split 'train' must hold text, but holds int64"),
        ({"one": ["ada", None], "other": ["york", "x"]}, "column 'one' has no text in row 1"),
        ({"one": ["ada"], "other": ["york"], "score": ["high"]}, "row 0 of split 'train' has the label 'high'"),
    ],
)
def test_what_does_not_fit_is_told(columns, told):
    with pytest.raises(UserError, match=told):
        encoded(columns)


def test_hidden_labels_are_not_scored():
    with pytest.raises(UserError, match="2 of 4 labels are hidden"):
        KIND.score(np.zeros((4, 1)), encoded({**PAIRS, "score": [-1.0, 1.0, None, 2.0]}), TASK)


def test_a_teacher_must_be_related_to_the_scores():
    assert KIND.no_better(-np.array(PAIRS["score"])[:, None], encoded(), TASK).startswith("its spearmanr is -100.0")
    assert KIND.no_better(np.array(PAIRS["score"])[:, None], encoded(), TASK) is None


def test_a_task_without_labels_has_no_metrics_and_one_with_them_needs_some():
    without = dataclasses.replace(TASK, label=None, metrics=())
    assert without.main_metric is None and not without.has_labels
    with pytest.raises(UserError, match="scores nothing; give task.label"):
        dataclasses.replace(TASK, label=None)
    with pytest.raises(UserError, match="has no metric"):
        dataclasses.replace(TASK, metrics=())
