from dataclasses import replace

import numpy as np
import pytest
import torch
from support.runs_for_tests import small_dataset
from support.shared_data import glue_task
from support.tiny import tiny_classifier

from kdfeatures.cache import answers as module
from kdfeatures.cache import kept_answers
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.tasks.registry import task_type

TASK = glue_task("sst2")
ROWS = small_dataset(12)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """The list grows by an entry whenever the model itself answers."""
    monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path))
    return []


def classifier(seed):
    torch.manual_seed(seed)
    return tiny_classifier()


def answers(asked, model, rows=ROWS, columns=(0, 1), task=TASK, batch_size=4, words=None, as_type=np.float32):
    def ask():
        asked.append(len(rows))
        return (
            task_type(task)
            .predict(model, rows, tokenizer(), columns, task=task, batch_size=batch_size, title="teacher")
            .astype(as_type)
        )

    return kept_answers(
        model, rows, words or tokenizer(), list(columns), ask, task=task, batch_size=batch_size, title="teacher"
    )


def test_a_model_is_asked_once_for_a_split_and_its_answers_come_back_bit_by_bit(asked, tmp_path):
    first = answers(asked, classifier(3))
    again = answers(asked, classifier(3), small_dataset(12))
    assert asked == [12] and first.shape == (12, 2) and first.std() > 0
    assert again.dtype == first.dtype and np.array_equal(again, first)
    assert len(list((tmp_path / "answers").iterdir())) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_answers_keep_their_precision(asked, dtype):
    first, again = (answers(asked, classifier(3), as_type=dtype) for _ in range(2))
    assert asked == [12] and again.dtype == dtype and np.array_equal(first, again)


def test_whatever_they_depend_on_makes_the_model_answer_again(asked, monkeypatch):
    model = classifier(3)
    answers(asked, model)
    answers(asked, classifier(4))
    answers(asked, model, ROWS.select(range(11)))
    answers(asked, model, ROWS.select(range(11, -1, -1)))
    answers(asked, model, ROWS.remove_columns("labels").add_column("labels", [0] * 12))
    answers(asked, model, columns=(1, 0))
    answers(asked, model, batch_size=5)
    answers(asked, model, task=replace(TASK, labels=("bad", "good")))
    more = tokenizer()
    more.add_tokens(["garden"])
    answers(asked, model, words=more)
    answers(asked, classifier(3).to(torch.float64))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 17)
    answers(asked, model)
    monkeypatch.setattr(module, "modules_hash", lambda folder: "another")
    answers(asked, model)
    assert len(asked) == 12
    answers(asked, model)
    assert len(asked) == 12


def test_a_model_that_is_compiled_answers_for_itself(asked):
    answers(asked, classifier(3))
    compiled = classifier(3)
    compiled._compiled_call_impl = compiled._call_impl  # as compile() sets it, without the minute that it takes
    answers(asked, compiled)
    assert len(asked) == 2


@pytest.mark.parametrize("damage", [lambda content: content[:-3], lambda content: content[:-1] + b"\0", lambda _: b""])
def test_a_damaged_file_is_asked_for_again_and_replaced(asked, tmp_path, damage):
    model = classifier(3)
    first = answers(asked, model)
    (file,) = (tmp_path / "answers").iterdir()
    file.write_bytes(damage(file.read_bytes()))
    assert np.array_equal(answers(asked, model), first) and len(asked) == 2
    assert np.array_equal(answers(asked, model), first) and len(asked) == 2


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(asked, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path / "file"))
    model = classifier(3)
    assert np.array_equal(answers(asked, model), answers(asked, model)) and len(asked) == 2


def test_answers_that_no_file_can_hold_are_not_kept(asked, tmp_path):
    for _ in range(2):
        assert answers(asked, tiny_classifier(), as_type=object).dtype == object
    assert len(asked) == 2 and not (tmp_path / "answers").exists()


def test_what_the_model_cannot_answer_is_said_each_time(asked):
    def broken():
        asked.append(0)
        raise ValueError("not finite")

    for _ in range(2):
        with pytest.raises(ValueError, match="not finite"):
            kept_answers(tiny_classifier(), ROWS, tokenizer(), None, broken, task=TASK, batch_size=4, title="teacher")
    assert len(asked) == 2
