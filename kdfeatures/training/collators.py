"""The data collator that a student's head and dataset ask for, where the user names none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from datasets import Dataset
from torch import nn
from transformers import (
    DataCollatorForLanguageModeling,
    DataCollatorForTokenClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerBase,
    default_data_collator,
)

from kdfeatures.distillation.outputs import predicts_vocabulary

Collator = Callable[[list[dict[str, Any]]], dict[str, Any]]


def default_collator(student: nn.Module, examples: Any, tokenizer: PreTrainedTokenizerBase | None) -> Collator:
    """Return what pads encoded examples to a batch, as transformers' own scripts choose it.

    With labels for tokens DataCollatorForTokenClassification; for a masked language model without labels
    DataCollatorForLanguageModeling, 15% masked; else DataCollatorWithPadding. Without a tokenizer nothing is padded.
    """
    if not isinstance(tokenizer, PreTrainedTokenizerBase):
        return default_data_collator
    first = _first(examples)
    if isinstance(first.get("labels"), Sequence):
        return DataCollatorForTokenClassification(tokenizer)
    if predicts_vocabulary(student) and "labels" not in first:
        return DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    return DataCollatorWithPadding(tokenizer)


def _first(examples: Any) -> Mapping[str, Any]:
    if isinstance(examples, Dataset):
        return examples[0] if len(examples) else {}
    first = next(iter(examples), None) if examples is not None else None
    return first if isinstance(first, Mapping) else {}
