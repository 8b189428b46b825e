"""F1 of the entities in sequences of BIO tags, as seqeval and CoNLL-2003's script count them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

OUTSIDE = "O"


def is_bio(tag: str) -> bool:
    """True for O, B-TYPE and I-TYPE."""
    return tag == OUTSIDE or (tag[:2] in ("B-", "I-") and len(tag) > 2)


def entity_f1(
    predictions: np.ndarray, labels: np.ndarray, *, tags: Sequence[str], lengths: Sequence[int] | np.ndarray
) -> float:
    """Return 2 tp / (predicted + true entities): an entity counts when its type and both its ends are right.

    predictions, labels: (words,), class ids of all sentences one after the other. tags: the name of each class.
    lengths: words of each sentence. 0 when there is no entity on either side. Unlike f1_macro it counts entities, not
    words, over all types at once (micro). An entity begins at B-TYPE, and at an I-TYPE that follows O or another type;
    it goes on through I-TYPE. So every sequence of tags has a reading, which seqeval's strict mode would leave out.
    """
    from seqeval.metrics import f1_score  # it imports scikit-learn, which other scores need not wait for

    names, ends = np.asarray(tags), np.cumsum(lengths)[:-1]
    predicted, true = ([part.tolist() for part in np.split(names[ids], ends)] for ids in (predictions, labels))
    return float(f1_score(true, predicted, zero_division=0))
