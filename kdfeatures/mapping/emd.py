"""Optimal transport between the layers of student and teacher."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from kdfeatures.mapping.dynamic import BatchWeightedMap

CHEAPEST = 1e-3  # of the mean unit cost: no layer counts as cheaper, so that none takes all the weight


class EmdMap(BatchWeightedMap):
    """M sum_mi f_mi L_mi with the plan f of least cost, BERT-EMD (arXiv:2010.06133).

    L_mi is the term's loss for the pair (m, i). f minimises sum f_mi L_mi with f >= 0, row sums u_m and column sums
    v_i, the weights of student and teacher layers, each summing to 1. It is detached: gradients reach L alone. The
    factor M gives the term the size that it has with a map of M pairs; pair_reduction=mean divides by it again.
    update: after every batch u_m becomes proportional to u_m / sum_i f_mi L_mi, and v_i likewise: layers that are cheap
    to match gain. As in the paper all begin equal. Its code averages the weights of attention and hidden states; here
    each term has its own. Some versions of that code put the new weights through a softmax, which is left out here.
    Of several processes each solves for its own batch, with the first one's u and v. With accumulated gradients, u and
    v change with every batch. A step reads the costs, so a GPU waits for its host once for each term.
    """

    rule = "emd"
    granularity = "all"
    supports: ClassVar = ("hidden", "attention")
    summary = "all teacher layers, by the flow of optimal transport"
    student_weights: Tensor  # u, (M,)
    teacher_weights: Tensor  # v, (N,)

    def __init__(
        self, student_layers: int, teacher_layers: int, *, update: bool = True, embeddings: bool = True
    ) -> None:
        super().__init__(student_layers, teacher_layers, embeddings=embeddings)
        self.update = update
        self.register_buffer("student_weights", torch.full((student_layers,), 1 / student_layers))
        self.register_buffer("teacher_weights", torch.full((teacher_layers,), 1 / teacher_layers))

    def weights_from_costs(self, costs: Tensor) -> Tensor:
        # not a decorator: torch.compiler.disable imports torch._dynamo, which takes seconds that nothing else needs
        solve = _uncompiled() if torch.compiler.is_compiling() else EmdMap._weights
        return solve(self, costs)

    def _weights(self, costs: Tensor) -> Tensor:
        cost_matrix = costs.double().cpu().numpy()
        student, teacher = (w.double().cpu().numpy() for w in (self.student_weights, self.teacher_weights))
        flow = transport_plan(cost_matrix, student / student.sum(), teacher / teacher.sum())
        if self.update and np.isfinite(cost_matrix).all():
            spent = flow * cost_matrix
            self.student_weights.copy_(torch.from_numpy(_cheap_first(spent.sum(1) / student)))
            self.teacher_weights.copy_(torch.from_numpy(_cheap_first(spent.sum(0) / teacher)))
        weights = torch.from_numpy(flow * len(flow)).to(costs)
        self.note(slice(None), weights.to(self.seen))
        return weights


_uncompiled_weights: Callable[[EmdMap, Tensor], Tensor] | None = None


def _uncompiled() -> Callable[[EmdMap, Tensor], Tensor]:
    global _uncompiled_weights  # not functools.cache: torch.compile warns of it
    if _uncompiled_weights is None:
        _uncompiled_weights = torch.compiler.disable(EmdMap._weights)
    return _uncompiled_weights


def _cheap_first(unit_costs: np.ndarray) -> np.ndarray:
    """Return weights in proportion to 1 / cost that sum to 1."""
    inverse = 1 / np.maximum(unit_costs, max(CHEAPEST * unit_costs.mean(), np.finfo(np.float32).tiny))
    weights: np.ndarray = inverse / inverse.sum()
    return weights


def transport_plan(costs: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Return f (M, N) >= 0 with these row and column sums, which both sum to 1, that minimises sum f * costs.

    For costs that are not finite it is the product of the sums, so that a diverged loss stays one.
    """
    if not np.isfinite(costs).all():
        return np.outer(rows, columns)
    import ot  # POT takes seconds to import, which other maps need not wait for

    plan: np.ndarray = ot.emd(rows, columns, costs / (np.abs(costs).max() or 1.0))  # its tolerances are absolute
    return plan
