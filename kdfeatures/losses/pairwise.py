"""Comparison of two relations over token pairs; the attention and relation losses are named uses of these two
functions.

They take the operands, so that the sums can be computed without holding the (B, H, L, L) scores.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from kdfeatures.errors import UserError
from kdfeatures.features import Relation
from kdfeatures.masking import blank_padding, real_pairs, real_tokens, sequence_mean


def _scores(relation: Relation, real: Tensor) -> Tensor:
    """Return the scores (B, H, L, L) in full precision, with zeros at padded rows and keys."""
    clean = Relation(blank_padding(relation.left, real), blank_padding(relation.right, real), relation.scale)
    # autocast would run the matmul in half precision although its operands are float32
    with torch.autocast(real.device.type, enabled=False):
        return clean.scores()


def _compared(
    student: Relation, teacher: Relation, mask: Tensor | None, allowed: tuple[Tensor | None, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the scores of student and teacher and the pairs that count."""
    of_student, of_teacher = tuple(student.left.shape[:3]), tuple(teacher.left.shape[:3])
    if of_student != of_teacher:
        raise UserError(
            "relations are compared head by head on the same tokens, but (batch, heads, tokens) is "
            f"{of_student} for the student and {of_teacher} for the teacher."
        )
    real = real_tokens(mask, student.left)
    return _scores(student, real), _scores(teacher, real), real_pairs(real, *allowed)


def relation_kl(
    student: Relation, teacher: Relation, mask: Tensor | None, *, allowed: tuple[Tensor | None, ...] = ()
) -> Tensor:
    """Mean over heads and rows of KL(softmax(scores_t) || softmax(scores_s)), then over sequences.

    MiniLM's equation (arXiv:2002.10957), its attention and value transfer alike, and MiniLMv2's
    (arXiv:2012.15828).

    student, teacher: equal B, H and L; head widths and scales may differ. mask: (B, L), True for real tokens,
    or None.
    allowed: boolean masks broadcastable to (B, H, L, L) or None; the softmax of both sides runs over the real
    keys that all of them keep, and a row without such a key is left out. Returns a scalar.
    """
    scores_s, scores_t, pairs = _compared(student, teacher, mask, allowed)
    # the lowest number, not -inf: a row without keys stays finite in both directions
    log_s = F.log_softmax(scores_s.masked_fill(~pairs, torch.finfo(scores_s.dtype).min), dim=-1)
    log_t = F.log_softmax(scores_t.masked_fill(~pairs, torch.finfo(scores_t.dtype).min), dim=-1)
    rows = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1)  # (B, H, L)
    return sequence_mean(rows, pairs.any(-1))


def score_mse(
    student: Relation, teacher: Relation, mask: Tensor | None, *, allowed: tuple[Tensor | None, ...] = ()
) -> Tensor:
    """Squared difference of the scores, averaged over heads and query-key pairs, then over sequences.

    Arguments as for `relation_kl`. Unlike it, this also counts a constant added to a row, which a softmax
    ignores.
    """
    scores_s, scores_t, pairs = _compared(student, teacher, mask, allowed)
    return sequence_mean((scores_s - scores_t).square(), pairs)
