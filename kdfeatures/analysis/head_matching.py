"""One-to-one matching of heads by their similarity, also where the counts differ."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from kdfeatures.errors import UserError


class HeadMatching(NamedTuple):
    """min(H_s, H_t) pairs of heads, counted from 0, and how sure each is.

    pairs          (student head, teacher head), by student head
    similarity     of each pair
    margins        the pair's similarity less the best of its student head with any other teacher head; negative where
                   the head would have preferred one that another head took
    unmatched_student, unmatched_teacher   heads without a partner, because the other side has fewer
    """

    pairs: tuple[tuple[int, int], ...]
    similarity: tuple[float, ...]
    margins: tuple[float, ...]
    unmatched_student: tuple[int, ...]
    unmatched_teacher: tuple[int, ...]

    def on(self, similarity: Tensor) -> tuple[float, ...]:
        """Return the similarity of the same pairs elsewhere: on a split that they were not fitted to, or on a null."""
        return tuple(similarity[pair].item() for pair in self.pairs)

    def margins_on(self, similarity: Tensor) -> tuple[float, ...]:
        """Return the margins of the same pairs elsewhere."""
        others = similarity.clone()
        for pair in self.pairs:
            others[pair] = -torch.inf
        return tuple((similarity[s, t] - others[s].max()).item() for s, t in self.pairs)


def match_heads(similarity: Tensor) -> HeadMatching:
    """Return the matching with the largest summed similarity (Kuhn 1955, the Hungarian method, through scipy).

    similarity: (H_s, H_t). Raises UserError when it is empty or holds NaN.
    """
    if similarity.ndim != 2 or not similarity.numel() or similarity.isnan().any():
        raise UserError(
            f"heads are matched by a matrix (student heads, teacher heads) of numbers, not by "
            f"{tuple(similarity.shape)}{' with NaN' if similarity.isnan().any() else ''}."
        )
    rows, columns = linear_sum_assignment(similarity.cpu().numpy(), maximize=True)
    pairs = tuple(zip(rows.tolist(), columns.tolist(), strict=True))
    heads_s, heads_t = similarity.shape
    unmatched_s = tuple(sorted(set(range(heads_s)) - set(rows.tolist())))
    unmatched_t = tuple(sorted(set(range(heads_t)) - set(columns.tolist())))
    matching = HeadMatching(pairs, (), (), unmatched_s, unmatched_t)
    return matching._replace(similarity=matching.on(similarity), margins=matching.margins_on(similarity))
