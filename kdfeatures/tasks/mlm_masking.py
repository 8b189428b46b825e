"""Masks for masked language modelling: other ones for every training batch, or fixed ones."""

from __future__ import annotations

import zlib
from typing import Any

import torch
from datasets import Dataset, IterableDataset
from transformers import DataCollatorForLanguageModeling, DataCollatorForTokenClassification, PreTrainedTokenizerBase

from kdfeatures.errors import UserError
from kdfeatures.tasks.columns import encoded

SCORED = 0  # the seed of the masks that models are scored on: the same for all of them


class MaskingCollator:
    """Pads and masks as transformers' DataCollatorForLanguageModeling does (80% [MASK], 10% another, 10% the same).

    What is masked follows from seed and content of the batch, not from the global generator, so that a resumed run sees
    the masks of an uninterrupted one; as batches are composed anew in each epoch, their masks are too. Examples that
    have `labels` are masked already, and only padded. With `rows` the batch tells which tokens are real: those on which
    student and teacher are compared, as DistilBERT's code does.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, share: float, *, seed: int, rows: bool) -> None:
        """Raises UserError for a tokenizer without a mask token."""
        if tokenizer.mask_token is None:
            raise UserError(
                "the tokenizer has no mask token, so no output can be compared on text; give another model."
            )
        self.mask = DataCollatorForLanguageModeling(tokenizer, mlm_probability=share)
        self.pad = DataCollatorForTokenClassification(tokenizer)
        self.seed, self.rows = seed, rows

    def __call__(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        if "labels" in examples[0]:
            batch = self.pad(examples)
        else:
            content = self.seed
            for example in examples:
                content = zlib.crc32(torch.tensor(example["input_ids"]).numpy().data, content)
            self.mask.generator = torch.Generator().manual_seed(content)
            batch = self.mask(examples)
        if self.rows:
            batch["rows"] = batch["attention_mask"].bool()
        return batch


def with_fixed_masks(
    dataset: Dataset | IterableDataset, tokenizer: PreTrainedTokenizerBase, share: float, *, seed: int = SCORED
) -> Dataset | IterableDataset:
    """Return encoded examples with masked input_ids and, in `labels`, what was masked; -100 elsewhere.

    The masks of an example follow from the seed and its own tokens, so that they are the same in any order, subset and
    process, and an example that occurs twice has them twice. A stream stays one.
    """
    collate = MaskingCollator(tokenizer, share, seed=seed, rows=False)

    def mask(rows: dict[str, list], _: Any = None) -> dict[str, list]:
        masked_rows = []
        for values in zip(*rows.values(), strict=True):
            masked = collate([dict(zip(rows, values, strict=True))])
            masked_rows.append({name: tensor[0].tolist() for name, tensor in masked.items()})
        return {name: [row[name] for row in masked_rows] for name in masked_rows[0]}

    return dataset.map(mask, batched=True) if isinstance(dataset, IterableDataset) else encoded(dataset, mask)
