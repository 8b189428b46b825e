import dataclasses

import pytest
from datasets import Dataset
from support.shared_data import glue_task
from support.tagged import pieces_tokenizer

from kdfeatures.data.load import encode
from kdfeatures.errors import UserError
from kdfeatures.tasks.kinds.sequence import SequenceTask
from kdfeatures.tokenization import kept as module

TASK = dataclasses.replace(glue_task("sst2"), text=("text",))
ROWS = {"text": ["near the garden", "a dog met a cat", "near"], "label": [0, 1, 0]}


@pytest.fixture
def made(monkeypatch, tmp_path):
    """Every split is worth keeping; the list grows by its rows whenever one is tokenised."""
    monkeypatch.setattr(module, "WORTH_KEEPING", 0)
    monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path))
    seen, plain = [], SequenceTask.encode
    monkeypatch.setattr(
        SequenceTask, "encode", lambda self, rows, *more: seen.append(len(rows)) or plain(self, rows, *more)
    )
    return seen


def test_a_split_is_tokenised_once_and_is_the_same_from_disk(made, tmp_path):
    rows, words = Dataset.from_dict(ROWS), pieces_tokenizer()
    first = encode(rows, words, TASK, 12)
    words(["cut"], truncation=True, max_length=3)  # what a call leaves in a tokenizer does not count
    again = encode(Dataset.from_dict(ROWS), pieces_tokenizer(), TASK, 12)
    assert made == [3]
    assert again.to_dict() == first.to_dict() and again.features == first.features
    assert len(list((tmp_path / "tokenised").iterdir())) == 1


def test_whatever_it_depends_on_makes_it_anew(made, monkeypatch):
    words = pieces_tokenizer()
    encode(Dataset.from_dict(ROWS), words, TASK, 12)
    encode(Dataset.from_dict({**ROWS, "text": ["near the garden", "a dog met a cat", "nearer"]}), words, TASK, 12)
    encode(Dataset.from_dict({**ROWS, "label": [0, 1, 1]}), words, TASK, 12)
    encode(Dataset.from_dict(ROWS).select([0, 1]), words, TASK, 12)
    encode(Dataset.from_dict(ROWS).select([2, 1, 0]), words, TASK, 12)
    encode(Dataset.from_dict(ROWS), words, TASK, 11)
    encode(Dataset.from_dict(ROWS), words, dataclasses.replace(TASK, labels=("good", "bad")), 12)
    left = pieces_tokenizer()
    left.truncation_side = "left"
    encode(Dataset.from_dict(ROWS), left, TASK, 12)
    more = pieces_tokenizer()
    more.add_tokens(["garden"])
    encode(Dataset.from_dict(ROWS), more, TASK, 12)
    monkeypatch.setattr(module, "modules_hash", lambda folder: "another")
    encode(Dataset.from_dict(ROWS), words, TASK, 12)
    assert len(made) == 10


def test_a_selection_of_rows_is_what_it_holds(made):
    words = pieces_tokenizer()
    encode(Dataset.from_dict(ROWS).select([2, 0]), words, TASK, 12)
    picked = Dataset.from_dict({name: [values[2], values[0]] for name, values in ROWS.items()})
    assert encode(picked, words, TASK, 12)["labels"][:] == [0, 0]
    assert made == [2]


def test_what_is_wrong_is_said_each_time(made):
    for _ in range(2):
        with pytest.raises(UserError, match="has no text in row 1"):
            encode(Dataset.from_dict({"text": ["a", None], "label": [0, 1]}), pieces_tokenizer(), TASK, 12)


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(made, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        assert len(encode(Dataset.from_dict(ROWS), pieces_tokenizer(), TASK, 12)) == 3
    assert made == [3, 3]


def test_few_examples_are_not_kept(made, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "WORTH_KEEPING", 4)
    encode(Dataset.from_dict(ROWS), pieces_tokenizer(), TASK, 12)
    assert not (tmp_path / "tokenised").exists()
