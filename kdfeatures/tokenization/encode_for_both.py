"""Texts as a batch for a student and a teacher that have different tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from kdfeatures.alignment.tokens.spans import check_offsets
from kdfeatures.alignment.tokens.teacher_inputs import STUDENT_GROUPS, TEACHER_GROUPS
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.tokenization.both_collator import BothCollator
from kdfeatures.tokenization.teacher_columns import column_of, groups_of_row

OFFSETS = "offset_mapping"


def encode_for_both(
    texts: Sequence[str] | Sequence[tuple[str, str]],
    tokenizer: PreTrainedTokenizerBase,
    teacher_tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int | None = None,
) -> dict[str, Any]:
    """Return the inputs of a Distiller whose student and teacher have different tokenizers.

    Args:
        texts: strings, or pairs of strings.
        tokenizer: the student's.
        teacher_tokenizer: the teacher's.
        max_length: tokens at which texts are cut, on both sides; None does not cut.

    Returns:
        The student's inputs, (B, L_s), and `teacher_inputs` (kdfeatures.alignment.tokens.teacher_inputs).

    Raises:
        UserError: for a slow tokenizer, which does not tell where its tokens lie in the text.

    >>> from kdfeatures.data.synthetic import tokenizer
    >>> batch = encode_for_both(["the dog slept"], tokenizer(), tokenizer())
    >>> batch["teacher_inputs"]["main"]["teacher_groups"].tolist()  # [CLS] the dog slept [SEP]
    [[0, 1, 2, 3, 4]]
    """
    check_offsets(tokenizer.is_fast, "the student")
    check_offsets(teacher_tokenizer.is_fast, "the teacher")
    rows: list[tuple[str, ...]] = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
    columns = [list(column) for column in zip(*rows, strict=True)]
    cut = {"truncation": max_length is not None, "max_length": max_length}
    own, its = (one(*columns, return_offsets_mapping=True, **cut) for one in (tokenizer, teacher_tokenizer))
    examples = []
    for row, of_row in enumerate(rows):
        example = {name: values[row] for name, values in own.items() if name != OFFSETS}
        example |= {column_of(DEFAULT_TEACHER, name): values[row] for name, values in its.items() if name != OFFSETS}
        groups = groups_of_row([own, its], row, of_row)
        for name, of_tokens in zip((STUDENT_GROUPS, TEACHER_GROUPS), groups, strict=True):
            example[column_of(DEFAULT_TEACHER, name)] = of_tokens
        examples.append(example)

    def pad(own_inputs: list[dict[str, Any]]) -> dict[str, Any]:
        return dict(tokenizer.pad(own_inputs, return_tensors="pt"))

    return BothCollator(pad, {DEFAULT_TEACHER: teacher_tokenizer})(examples)
