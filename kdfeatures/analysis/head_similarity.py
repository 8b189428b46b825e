"""Similarity of every student head with every teacher head, gathered over batches; 1 is equal, higher is more alike.

All measures see real tokens only, and allow head counts and head widths to differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from kdfeatures.analysis.hsic import unbiased_hsic
from kdfeatures.errors import UserError, nearest
from kdfeatures.features import AttentionStates
from kdfeatures.masking import blank_padding, real_pairs, real_tokens


class HeadSimilarity:
    """One measure for all pairs of heads of two layers.

    measure:
        divergence    1 - JS / ln 2 of the attention maps, JS the Jensen-Shannon divergence of a query's two
                      distributions over keys, averaged over a sequence's real queries, then over sequences
        correlation   Pearson's r of the scores before softmax, each row less its mean (which a softmax ignores),
                      over all pairs of real tokens of all sequences
        cka           debiased linear CKA of the heads' outputs, probabilities @ values, with the tokens of a batch as
                      samples: unbiased HSIC (Song et al. 2012) averaged over batches, then the ratio (arXiv:2010.15327)

    update(student, teacher, mask) takes a batch; compute() returns (H_s, H_t) in float64. Raises UserError for an
    unknown measure, for features of different texts, and for too few tokens.
    """

    def __init__(self, measure: str) -> None:
        check_measure(measure)
        self.measure = measure
        self._sums: tuple[Tensor, ...] | None = None

    @torch.no_grad()
    def update(self, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None) -> None:
        """Add a batch. mask: (B, L), True for real tokens, or None."""
        if student.query.shape[0] != teacher.query.shape[0] or student.query.shape[2] != teacher.query.shape[2]:
            raise UserError(
                f"heads are compared on the same texts, but queries are {tuple(student.query.shape)} and "
                f"{tuple(teacher.query.shape)}, (batch, heads, tokens, width); feed both one batch."
            )
        sums = MEASURES[self.measure](student, teacher, real_tokens(mask, student.query))
        self._sums = sums if self._sums is None else tuple(a + b for a, b in zip(self._sums, sums, strict=True))

    def compute(self) -> Tensor:
        """Return the similarity of all pairs, (H_s, H_t)."""
        if self._sums is None:
            raise UserError("no batch was given, so there is no similarity; call update first.")
        joint, of_student, of_teacher = self._sums
        if self.measure == "divergence":
            return 1 - joint / of_student / math.log(2)
        return joint / (of_student[:, None] * of_teacher[None]).clamp(min=torch.finfo(joint.dtype).tiny).sqrt()


def check_measure(measure: str) -> None:
    """Raise UserError for an unknown measure."""
    if measure not in MEASURES:
        raise UserError(
            f"the measure {measure} is unknown{nearest(measure, MEASURES)}; choose from {', '.join(MEASURES)}."
        )


def shuffled(states: AttentionStates, mask: Tensor) -> tuple[AttentionStates, Tensor]:
    """Return the batch with each text in the place of the one before it, and its mask: what heads of unrelated
    texts have in common. Use `mask & its mask` for a comparison. Raises UserError for a batch of one text."""
    if len(mask) < 2:
        raise UserError("a batch of one text cannot be shuffled; give two or more.")

    def rolled(tensor: Tensor) -> Tensor:
        return tensor if tensor.shape[0] != len(mask) else tensor.roll(1, 0)

    return changed(states, rolled), mask.roll(1, 0)


def changed(states: AttentionStates, change: Callable[[Tensor], Tensor]) -> AttentionStates:
    """Return the states with all of their tensors changed."""
    query, key, value = (change(x) for x in (states.query, states.key, states.value))
    allowed, used, bias = (None if x is None else change(x) for x in (states.allowed, states.used, states.bias))
    return states._replace(query=query, key=key, value=value, allowed=allowed, used=used, bias=bias)


def _probabilities(states: AttentionStates, real: Tensor) -> Tensor:
    """Return each head's distribution over real keys, (B, H, L, L), in float64; rows of padding are zero."""
    keep = real_pairs(real, states.keep_mask())
    if states.used is not None:
        probabilities = torch.where(keep, states.used.double(), 0)
        return probabilities / probabilities.sum(-1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    scores = _blank(states, real).attention.scores().masked_fill(~keep, -torch.inf)
    return torch.where(keep, scores.softmax(-1), 0)


def _blank(states: AttentionStates, real: Tensor) -> AttentionStates:
    query, key, value = (blank_padding(x, real).double() for x in (states.query, states.key, states.value))
    return states._replace(query=query, key=key, value=value)


def _divergence(student: AttentionStates, teacher: AttentionStates, real: Tensor) -> tuple[Tensor, ...]:
    maps_s, maps_t = _probabilities(student, real), _probabilities(teacher, real)
    entropies = (_negative_entropy(maps_s), _negative_entropy(maps_t))
    rows = real.sum(1).clamp(min=1)
    totals = []
    for head in range(maps_s.shape[1]):
        middle = _negative_entropy((maps_s[:, head : head + 1] + maps_t) / 2)
        divergence = (entropies[0][:, head : head + 1] + entropies[1]) / 2 - middle  # (B, H_t, L)
        totals.append(((divergence * real[:, None]).sum(-1) / rows[:, None]).sum(0))
    count = (real.any(1)).sum().double()
    return torch.stack(totals), count, count


def _negative_entropy(maps: Tensor) -> Tensor:
    return torch.special.xlogy(maps, maps).sum(-1)


def _correlation(student: AttentionStates, teacher: AttentionStates, real: Tensor) -> tuple[Tensor, ...]:
    flat_s, flat_t = (_centred_scores(states, real) for states in (student, teacher))
    return flat_s @ flat_t.mT, flat_s.square().sum(1), flat_t.square().sum(1)


def _centred_scores(states: AttentionStates, real: Tensor) -> Tensor:
    """Return scores less their row's mean over the keys that count, (H, B * L * L), zeros elsewhere."""
    keep = real_pairs(real, states.keep_mask())
    scores = torch.where(keep, _blank(states, real).attention.scores(), 0)
    mean = scores.sum(-1, keepdim=True) / keep.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(keep, scores - mean, 0).transpose(0, 1).flatten(1)


def _cka(student: AttentionStates, teacher: AttentionStates, real: Tensor) -> tuple[Tensor, ...]:
    outputs_s, outputs_t = (_outputs(states, real) for states in (student, teacher))
    return (
        torch.stack([torch.stack([unbiased_hsic(output, other) for other in outputs_t]) for output in outputs_s]),
        torch.stack([unbiased_hsic(output, output) for output in outputs_s]),
        torch.stack([unbiased_hsic(output, output) for output in outputs_t]),
    )


def _outputs(states: AttentionStates, real: Tensor) -> Tensor:
    """Return what each head gives at the real tokens of the batch, (H, tokens, d)."""
    outputs = _probabilities(states, real) @ _blank(states, real).value
    return outputs.transpose(0, 1)[:, real]


MEASURES: dict[str, Callable[[AttentionStates, AttentionStates, Tensor], tuple[Tensor, ...]]] = {
    "divergence": _divergence,
    "correlation": _correlation,
    "cka": _cka,
}
