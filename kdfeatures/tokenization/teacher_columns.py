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
from kdfeatures.errors import UserError
from kdfeatures.tasks.columns import IGNORE_INDEX
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

PREFIX = "teacher_inputs."
LABELS, OFFSETS = "labels", "offset_mapping"
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
            rows = list(zip(*(raw[column][:] for column in task.text), strict=True))
            aligned = teacher_inputs_of(rows, tokenizer, name, other, max_length=max_length)
            columns |= {column_of(name, of): aligned[column_of(name, of)] for of in (STUDENT_GROUPS, TEACHER_GROUPS)}
            _check_lengths(columns, encoded, name)
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


def is_one_to_one(examples: Dataset, teacher: str) -> bool:
    """Whether every token of every example is one token of the teacher's, so that both are compared as they are."""
    columns = [column_of(teacher, name) for name in (STUDENT_GROUPS, TEACHER_GROUPS)]
    if not set(columns) <= set(examples.column_names):
        return False
    own, its = (examples[column][:] for column in columns)
    return all(is_identity(*groups) for groups in zip(own, its, strict=True))


def is_identity(own: Sequence[int], its: Sequence[int]) -> bool:
    """Whether groups are single tokens in their order, on both sides."""
    return list(own) == list(its) == list(range(len(own)))


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


def teacher_inputs_of(
    rows: Sequence[Sequence[Text]],
    tokenizer: PreTrainedTokenizerBase,
    teacher: str,
    other: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
) -> dict[str, list[Any]]:
    """Return the columns of a teacher's inputs, with groups, for texts, or pairs of them, or lists of words."""
    columns = [list(column) for column in zip(*rows, strict=True)]
    options: dict[str, Any] = {"truncation": max_length is not None, "max_length": max_length}
    if not isinstance(rows[0][0], str):
        options["is_split_into_words"] = True
    both: list[BatchEncoding] = [one(*columns, return_offsets_mapping=True, **options) for one in (tokenizer, other)]
    groups = [groups_of_row(both, row, texts) for row, texts in enumerate(rows)]
    made = {column_of(teacher, name): values for name, values in both[1].items() if name != OFFSETS}
    made[column_of(teacher, STUDENT_GROUPS)] = [of_row[0] for of_row in groups]
    made[column_of(teacher, TEACHER_GROUPS)] = [of_row[1] for of_row in groups]
    return made


def groups_of_row(both: Sequence[BatchEncoding], row: int, texts: Sequence[Text]) -> tuple[list[int], list[int]]:
    """Return the groups of one row of what two tokenizers made of the same texts."""
    spans = [token_spans(encoding, row, texts) for encoding in both]
    return group_tokens(spans[0], spans[1], texts)


def _check_lengths(columns: Mapping[str, list[Any]], encoded: Dataset, name: str) -> None:
    """Raise UserError for a word that a tokenizer drops, so that its tokens cannot be told from others."""
    own, its = encoded["input_ids"][:], columns[column_of(name, "input_ids")]
    groups_s, groups_t = columns[column_of(name, STUDENT_GROUPS)], columns[column_of(name, TEACHER_GROUPS)]
    for row, of_row in enumerate(zip(own, groups_s, its, groups_t, strict=True)):
        if len(of_row[0]) != len(of_row[1]) or len(of_row[2]) != len(of_row[3]):
            raise UserError(
                f"row {row} holds a word of which a tokenizer makes no token, such as a control character, so that "
                "layers of two tokenizers cannot be compared; leave it out."
            )


def _first_words(labels: Sequence[int], count: int) -> list[int]:
    kept, words = [], 0
    for label in labels:
        words += label != IGNORE_INDEX
        kept.append(label if words <= count else IGNORE_INDEX)
    return kept
