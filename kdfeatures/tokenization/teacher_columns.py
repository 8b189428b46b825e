"""Encoded examples for teachers with other tokenizers: their own inputs, and which tokens belong together.

Beside the student's columns stand `teacher_inputs.NAME.COLUMN` for each such teacher; `of_teacher` takes them out as a
dataset of that teacher's, and BothCollator makes of them what kdfeatures.alignment.tokens.teacher_inputs describes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset
from transformers import BatchEncoding, PreTrainedTokenizerBase

from kdfeatures.alignment.tokens.spans import Text, group_tokens, token_spans
from kdfeatures.alignment.tokens.teacher_inputs import STUDENT_GROUPS, TEACHER_GROUPS
from kdfeatures.tasks.columns import IGNORE_INDEX
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

PREFIX = "teacher_inputs."
LABELS = "labels"
Tokenizers = Mapping[str, PreTrainedTokenizerBase]  # by the names of the teachers that have their own


def column_of(teacher: str, column: str) -> str:
    """Return what a column of a teacher's inputs is called beside the student's."""
    return f"{PREFIX}{teacher}.{column}"


def with_teacher_inputs(
    raw: Dataset,
    encoded: Dataset,
    task: Task,
    tokenizer: PreTrainedTokenizerBase,
    others: Tokenizers,
    max_length: int,
) -> Dataset:
    """Return an encoded split with what teachers of other tokenizers read of the same texts.

    raw: the split's texts, row by row. max_length: tokens at which texts are cut, on both sides.
    """
    for name, other in others.items():
        own = task_type(task).encode(raw, other, task, max_length)
        columns = {column_of(name, column): own[column][:] for column in own.column_names if column != LABELS}
        if task.kind == "tokens":
            columns[column_of(name, LABELS)] = own[LABELS][:]
        if tokenizer.is_fast and other.is_fast:
            groups = _groups(raw, task, tokenizer, other, max_length)
            columns[column_of(name, STUDENT_GROUPS)], columns[column_of(name, TEACHER_GROUPS)] = groups
        for column, values in columns.items():
            encoded = encoded.add_column(column, values)
    return encoded


def comparable_words(examples: Dataset, teachers: Sequence[str]) -> Dataset:
    """Return token-labelled examples whose words have a label only where all models have them in front of the cut.

    Logits are compared word by word. Labels, lists of L, begin a word where they are not IGNORE_INDEX.
    """
    columns = [LABELS, *(column_of(name, LABELS) for name in teachers)]

    def cut(row: dict[str, Any]) -> dict[str, Any]:
        counts = [sum(label != IGNORE_INDEX for label in row[column]) for column in columns]
        return {column: _first_words(row[column], min(counts)) for column in columns}

    return examples.map(cut, keep_in_memory=True, features=examples.features)


def of_teacher(examples: Dataset, teacher: str) -> Dataset:
    """Return the examples as a teacher reads them: its own inputs where it has some, and the labels."""
    start = column_of(teacher, "")
    own = [name for name in examples.column_names if name.startswith(start)]
    if not own:
        return without_teachers(examples)
    has_own_labels = column_of(teacher, LABELS) in own
    kept = [name for name in examples.column_names if name == LABELS and not has_own_labels]
    groups = (column_of(teacher, STUDENT_GROUPS), column_of(teacher, TEACHER_GROUPS))
    chosen = examples.select_columns([*kept, *(name for name in own if name not in groups)])
    return chosen.rename_columns({name: name.removeprefix(start) for name in own if name not in groups})


def without_teachers(examples: Dataset) -> Dataset:
    """Return the examples as the student reads them."""
    others = [name for name in examples.column_names if name.startswith(PREFIX)]
    return examples.remove_columns(others) if others else examples


def _groups(
    raw: Dataset, task: Task, tokenizer: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase, max_length: int
) -> tuple[list[list[int]], list[list[int]]]:
    columns = [raw[column][:] for column in task.text]
    options = {"is_split_into_words": True} if task.kind == "tokens" else {}
    both: list[BatchEncoding] = [
        one(*columns, truncation=True, max_length=max_length, return_offsets_mapping=True, **options)
        for one in (tokenizer, other)
    ]
    of_student, of_teacher = [], []
    for row, texts in enumerate(zip(*columns, strict=True)):
        groups = groups_of_row(both, row, texts)
        of_student.append(groups[0])
        of_teacher.append(groups[1])
    return of_student, of_teacher


def groups_of_row(both: Sequence[BatchEncoding], row: int, texts: Sequence[Text]) -> tuple[list[int], list[int]]:
    """Return the groups of one row of what two tokenizers made of the same texts."""
    spans = [token_spans(encoding, row, texts) for encoding in both]
    return group_tokens(spans[0], spans[1], texts)


def _first_words(labels: Sequence[int], count: int) -> list[int]:
    kept, words = [], 0
    for label in labels:
        words += label != IGNORE_INDEX
        kept.append(label if words <= count else IGNORE_INDEX)
    return kept
