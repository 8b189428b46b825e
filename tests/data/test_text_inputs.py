"""Training text that is masked once, and text that is masked anew in each batch."""

from dataclasses import replace

import pytest
import torch
from datasets import Dataset
from support.shared_data import task_config
from support.tagged import pieces_tokenizer, sentences
from torch.utils.data import DataLoader

from kdfeatures.data.settings import DataSettings
from kdfeatures.data.text_inputs import OWN, TextData
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

TASK = Task.from_config(task_config("text"))
ONCE = replace(TASK, reading=replace(TASK.text_reading, masked_once=True, masked=0.4))
TEXTS = [" ".join(row["tokens"]) for row in sentences(60, 3)]


def train(task=ONCE, seed=1, texts=TEXTS, **data):
    raw = Dataset.from_dict({"text": list(texts)})
    raw = raw.to_iterable_dataset() if data.get("streaming") else raw
    return TextData(task, {"train": raw}, pieces_tokenizer(), 16).train(DataSettings(**data), seed)[OWN]


def batches(examples, *, seed, workers=0, task=ONCE):
    """Return what the trainer would see of each block in one epoch, without its padding, in sorted order."""
    torch.manual_seed(seed)
    collate = task_type(task).collator(pieces_tokenizer(), task, rows=True, seed=1)
    loader = DataLoader(list(examples), batch_size=4, shuffle=True, num_workers=workers, collate_fn=collate)
    return sorted(
        (ids[real].tolist(), labels[real].tolist())
        for batch in loader
        for ids, labels, real in zip(batch["input_ids"], batch["labels"], batch["rows"], strict=True)
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_masks_are_the_same_in_every_epoch_order_and_worker(workers):
    examples = train()
    first = batches(examples, seed=0)
    assert len(first) > 20
    assert batches(examples, seed=5, workers=workers) == first
    assert batches(train(), seed=6) == first  # as of a run that goes on
    assert batches(train(task=TASK), seed=0, task=TASK) != batches(train(task=TASK), seed=5, task=TASK)


def test_masks_differ_between_seeds_and_blocks():
    examples, other = train(), train(seed=2)
    drawn = [tuple(label != -100 for label in labels) for labels in examples["labels"]]
    assert len(set(drawn)) > 0.9 * len(drawn)
    assert [tuple(label != -100 for label in labels) for labels in other["labels"]] != drawn
    assert len(other) == len(examples)


def test_fewer_texts_have_the_same_masks():
    task = replace(ONCE, reading=replace(ONCE.text_reading, blocks=False))
    whole = {(tuple(row["input_ids"]), tuple(row["labels"])) for row in train(task=task)}
    some = {(tuple(row["input_ids"]), tuple(row["labels"])) for row in train(task=task, train_examples=20)}
    assert some < whole


def test_a_stream_is_masked_once_as_well():
    def rows(examples):
        return sorted((row["input_ids"], row["labels"]) for row in examples)

    assert rows(train(streaming=True)) == rows(train())


@pytest.mark.parametrize("task", [TASK, ONCE.without_outputs], ids=["anew", "plain text"])
def test_nothing_is_masked_ahead_where_masks_are_drawn_anew_or_no_output_is_read(task):
    examples = train(task=task)
    assert "labels" not in examples.column_names
    assert pieces_tokenizer().mask_token_id not in {token for ids in examples["input_ids"] for token in ids}
