"""From start and end logits of the windows of a context to the answer of a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class AnswerSpan(NamedTuple):
    """An answer: its first and last token, and the sum of both logits. empty: that of no answer."""

    first: int
    last: int
    score: float
    empty: float


def best_span(logits: Tensor, is_context: Tensor, cls: int, longest: int) -> AnswerSpan:
    """Return the likeliest answer in a window.

    The largest s_i + e_j with i <= j < i + longest, both tokens of the context (BERT, arXiv:1810.04805, section 4.2).
    A window without context has a score of minus infinity.

    Args:
        logits: (L, 2), start and end of each token.
        is_context: (L,), which tokens are of the context.
        cls: the token that stands for no answer; `empty` is its s + e.
        longest: tokens of an answer.
    """
    logits = logits.float()
    empty = float(logits[cls].sum())
    start, end = logits.masked_fill(~is_context[:, None], -torch.inf).unbind(1)
    length = len(start)
    # of an end at a distance d from the start, (longest, L)
    shifted = torch.stack([torch.cat([end[d:], end.new_full((d,), -torch.inf)]) for d in range(min(longest, length))])
    totals = start + shifted
    distance, first = divmod(int(totals.argmax()), length)
    return AnswerSpan(first, first + distance, float(totals.flatten()[distance * length + first]), empty)


def best_answers(
    spans: Sequence[AnswerSpan],
    offsets: Sequence[Sequence[tuple[int, int]]],
    examples: np.ndarray,
    *,
    unanswerable: bool,
) -> np.ndarray:
    """Return the answers of all questions over their windows, characters [start, end) of the context, (examples, 2).

    [0, 0) is no answer: where that is allowed and the likeliest span is less likely than no answer in every window
    (SQuAD 2.0), and where a question has no context.

    Args:
        spans: of every window.
        offsets: of every window, the characters of its tokens.
        examples: (windows,), which question each is of, from 0.
    """
    answers = np.zeros((int(examples.max()) + 1, 2), dtype=np.int64)
    best = np.full(len(answers), -np.inf)
    empty = np.full(len(answers), np.inf)
    for span, of_window, example in zip(spans, offsets, examples.tolist(), strict=True):
        empty[example] = min(empty[example], span.empty)
        if span.score > best[example]:
            best[example] = span.score
            answers[example] = of_window[span.first][0], of_window[span.last][1]
    if unanswerable:
        answers[empty > best] = 0
    return answers
