"""Copies of examples with some of their words replaced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from datasets import Dataset
from datasets.fingerprint import Hasher

from kdfeatures.data.augmentation.substitutes import Substitutes
from kdfeatures.data.augmentation.words import is_word, parts_of


def augmented(
    dataset: Dataset,
    columns: Sequence[str],
    *,
    substitutes: Substitutes,
    copies: int,
    probability: float,
    candidates: int,
    seed: int,
    fingerprint: str,
) -> Dataset:
    """Return at most `copies` altered copies of every row, TinyBERT's algorithm 1 (arXiv:1909.10351).

    In each copy every word of the text columns is replaced with this probability by one of its first `candidates`
    substitutes, drawn evenly. Other columns are repeated as they are; their labels may not fit any longer, so hide
    them and let the teacher label the copies. A copy that equals its original or an earlier copy is left out.

    seed: a row's copies depend on it and on the row alone. fingerprint: names all that the substitutes depend on;
    `datasets` finds the copies of an earlier call by it, where the dataset is on disk.
    """

    def alter(rows: dict[str, list], indices: list[int]) -> dict[str, list]:
        batch: dict[str, list] = {name: [] for name in rows}
        for at, index in enumerate(indices):
            rng = np.random.default_rng([seed, index])
            texts = [rows[column][at] for column in columns]
            for altered in _altered(texts, substitutes, copies, probability, candidates, rng):
                for name in rows:
                    batch[name].append(altered[columns.index(name)] if name in columns else rows[name][at])
        return batch

    settings = (fingerprint, list(columns), copies, probability, candidates, seed)
    return dataset.map(
        alter,
        batched=True,
        batch_size=100,
        with_indices=True,
        features=dataset.features,
        new_fingerprint=Hasher.hash((dataset._fingerprint, settings)),
        desc="augmenting",
    )


def _altered(
    texts: Sequence[str],
    substitutes: Substitutes,
    copies: int,
    probability: float,
    candidates: int,
    rng: np.random.Generator,
) -> list[tuple[str, ...]]:
    cut = [parts_of(text) for text in texts]
    words = [[p for p, part in enumerate(parts) if is_word(part)] for parts in cut]
    choices = [
        dict(zip(at, substitutes(text, at, candidates), strict=True)) for text, at in zip(texts, words, strict=True)
    ]
    variants = {tuple(texts): None}
    for _ in range(copies):
        copy = []
        for parts, at, options in zip(cut, words, choices, strict=True):
            parts = list(parts)
            for p in at:
                if rng.random() < probability and options[p]:
                    parts[p] = _cased_as(parts[p], options[p][rng.integers(len(options[p]))])
            copy.append("".join(parts))
        variants.setdefault(tuple(copy))
    return list(variants)[1:]


def _cased_as(replaced: str, word: str) -> str:
    return word[0].upper() + word[1:] if replaced[0].isupper() else word
