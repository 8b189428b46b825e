"""Entities in sequences of BIO tags, and their F1 as seqeval and CoNLL-2003's script count it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OUTSIDE = "O"


def is_bio(tag: str) -> bool:
    """True for O, B-TYPE and I-TYPE."""
    return tag == OUTSIDE or (tag[:2] in ("B-", "I-") and len(tag) > 2)


def entities(tags: Sequence[str]) -> set[tuple[str, int, int]]:
    """Return the entities of one sentence as (type, first word, first word after it).

    An entity begins at B-TYPE, and at an I-TYPE that follows O or another type; it goes on through I-TYPE. So every
    sequence of tags has a reading, whatever a model predicts.
    """
    spans, start = set(), 0
    for at in range(1, len(tags) + 1):
        before = tags[at - 1]
        if at < len(tags) and tags[at] == f"I-{before[2:]}" and before != OUTSIDE:
            continue
        if before != OUTSIDE:
            spans.add((before[2:], start, at))
        start = at
    return spans


def entity_f1(
    predictions: np.ndarray, labels: np.ndarray, *, tags: Sequence[str], lengths: Sequence[int] | np.ndarray
) -> float:
    """Return 2 tp / (predicted + true entities): an entity counts when its type and both its ends are right.

    predictions, labels: (words,), class ids of all sentences one after the other. tags: the name of each class.
    lengths: words of each sentence. 0 when there is no entity on either side. Unlike f1_macro it counts entities, not
    words, over all types at once (micro).
    """
    right = total = 0
    names = np.asarray(tags)
    ends = np.cumsum(lengths)
    for start, end in zip(ends - np.asarray(lengths), ends, strict=True):
        predicted, true = (entities(names[ids[start:end]].tolist()) for ids in (predictions, labels))
        right += len(predicted & true)
        total += len(predicted) + len(true)
    return 2 * right / total if total else 0.0
