"""Exact match and F1 of answers that are a part of a text, as SQuAD scores them (arXiv:1606.05250, 1806.03822)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized(answer: str) -> str:
    """Return an answer in lower case, without punctuation, English articles and blanks that are not single."""
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact_match(answer: str, references: Sequence[str]) -> float:
    """1 where the normalized answer is one of the references, else 0. No references: the empty answer is right."""
    return float(normalized(answer) in {normalized(reference) for reference in references or [""]})


def token_f1(answer: str, references: Sequence[str]) -> float:
    """The largest F1 of the words of the normalized answer against those of a reference.

    Where one of them has no words, 1 if both have none, else 0.
    """
    words = normalized(answer).split()
    return max(_f1(words, normalized(reference).split()) for reference in references or [""])


def _f1(words: Sequence[str], reference: Sequence[str]) -> float:
    if not words or not reference:
        return float(words == reference)
    shared = (Counter(words) & Counter(reference)).total()
    return 2 * shared / (len(words) + len(reference))
