"""Texts as a batch for a student and a teacher that have different tokenizers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from kdfeatures.alignment.tokens.spans import check_offsets
from kdfeatures.mapping.pairs import DEFAULT_TEACHER
from kdfeatures.tokenization.both_collator import BothCollator
from kdfeatures.tokenization.teacher_columns import teacher_inputs_of


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
        The student's inputs, (B, L_s), and `teacher_inputs` (kdfeatures.alignment.tokens.teacher_inputs), with groups
        of tokens where not every token is one of the teacher's.

    Raises:
        UserError: for a slow tokenizer, which does not tell where its tokens lie in the text.

    >>> from kdfeatures.data.synthetic import tokenizer
    >>> batch = encode_for_both(["the dog slept"], tokenizer(), tokenizer())
    >>> batch["teacher_inputs"]["main"]["input_ids"].shape  # [CLS] the dog slept [SEP]
    torch.Size([1, 5])
    """
    check_offsets(tokenizer.is_fast, "the student")
    check_offsets(teacher_tokenizer.is_fast, "the teacher")
    rows: list[tuple[str, ...]] = [(text,) if isinstance(text, str) else tuple(text) for text in texts]
    columns = [list(column) for column in zip(*rows, strict=True)]
    own = tokenizer(*columns, truncation=max_length is not None, max_length=max_length)
    its = teacher_inputs_of(rows, tokenizer, DEFAULT_TEACHER, teacher_tokenizer, max_length=max_length)
    examples = [{name: values[row] for name, values in {**own, **its}.items()} for row in range(len(rows))]

    def pad(own_inputs: list[dict[str, Any]]) -> dict[str, Any]:
        return dict(tokenizer.pad(own_inputs, return_tensors="pt"))

    return BothCollator(pad, {DEFAULT_TEACHER: teacher_tokenizer})(examples)
