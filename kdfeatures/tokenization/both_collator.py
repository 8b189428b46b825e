"""Pad examples for a student and for teachers with other tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase

from kdfeatures.alignment.tokens.spans import NO_GROUP
from kdfeatures.alignment.tokens.teacher_inputs import GROUP_MASK, ROWS, STUDENT_GROUPS, TEACHER_GROUPS
from kdfeatures.tasks.columns import IGNORE_INDEX
from kdfeatures.tokenization.teacher_columns import LABELS, PREFIX, Tokenizers, column_of, is_identity


class BothCollator:
    """Pads the student's columns by another collator, and those of each teacher by its tokenizer.

    Groups that are single tokens throughout a batch are left out: token is then compared with token.
    """

    def __init__(self, pad: Callable[[list[dict[str, Any]]], dict[str, Any]], tokenizers: Tokenizers) -> None:
        self.pad, self.tokenizers = pad, dict(tokenizers)

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        own = [{name: x for name, x in example.items() if not name.startswith(PREFIX)} for example in examples]
        batch = self.pad(own)
        inputs = {}
        for name, tokenizer in self.tokenizers.items():
            start = column_of(name, "")
            rows = [
                {column.removeprefix(start): x for column, x in example.items() if column.startswith(start)}
                for example in examples
            ]
            if rows[0]:  # an evaluation has no need of them
                inputs[name] = self._padded(rows, tokenizer, batch)
        if inputs:
            batch["teacher_inputs"] = inputs
        return batch

    def _padded(
        self, rows: list[dict[str, Any]], tokenizer: PreTrainedTokenizerBase, of_student: Mapping[str, Any]
    ) -> dict[str, torch.Tensor]:
        names = [name for name in tokenizer.model_input_names if name in rows[0]]
        batch = dict(tokenizer.pad([{name: row[name] for name in names} for row in rows], return_tensors="pt"))
        if LABELS in rows[0]:
            batch[ROWS] = _filled([row[LABELS] for row in rows], batch, IGNORE_INDEX) != IGNORE_INDEX
        if STUDENT_GROUPS in rows[0] and not (
            all(is_identity(row[STUDENT_GROUPS], row[TEACHER_GROUPS]) for row in rows)
            and _stand_alike(of_student, batch)
        ):
            batch[STUDENT_GROUPS] = _filled([row[STUDENT_GROUPS] for row in rows], of_student, NO_GROUP)
            batch[TEACHER_GROUPS] = _filled([row[TEACHER_GROUPS] for row in rows], batch, NO_GROUP)
            counts = batch[STUDENT_GROUPS].amax(1, keepdim=True) + 1
            batch[GROUP_MASK] = torch.arange(int(counts.max())) < counts
        return batch


def _filled(rows: Sequence[Sequence[int]], batch: Mapping[str, Any], value: int) -> torch.Tensor:
    """Return what tokens have, one for each of a text, in the places of a padded batch; `value` at padding."""
    filled = torch.full(tuple(batch["input_ids"].shape), value)
    for number, (row, start) in enumerate(zip(rows, _starts(batch), strict=True)):
        filled[number, start : start + len(row)] = torch.as_tensor(row)
    return filled


def _starts(batch: Mapping[str, Any]) -> list[int]:
    """Return at which position each text of a padded batch begins: after its padding, where that is on the left."""
    mask = batch.get("attention_mask")
    return [0] * len(batch["input_ids"]) if mask is None else torch.as_tensor(mask).argmax(1).tolist()


def _stand_alike(batch: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether the tokens of two padded batches stand at the same positions."""
    return _starts(batch) == _starts(other) and batch["input_ids"].shape == other["input_ids"].shape
