"""Losses between the attention of student and teacher, head by head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates
from kdfeatures.losses.kernels.pairwise import relation_kl, score_mse


class AttentionLoss(nn.Module):
    """Base of the losses on attention operands: says before training whether two models can be compared."""

    inputs: ClassVar[str] = "attention"
    reduction: ClassVar[str]  # how it averages, in the letters of kdfeatures.features
    positions: ClassVar[str]  # which positions do
    compares_scores: ClassVar[bool] = False  # true where the loss derives the models' own scores from q and k
    operands: Sequence[str] = ("query", "key", "value")  # all that the loss reads; the feature cache keeps no other

    def check(self, student_heads: int, student_width: int, teacher_heads: int, teacher_width: int) -> None:
        """Raise UserError when models of these head counts and attention widths (H * d) cannot be compared.

        Here: when the head counts differ; the widths may.
        """
        if student_heads != teacher_heads:
            ways = "heads=hungarian, mean, learned or relation makes them equal, and " if self.compares_scores else ""
            raise UserError(
                f"{type(self).__name__} needs equal head counts, but the student has {student_heads} heads "
                f"and the teacher {teacher_heads}; {ways}RelationKL (recipe=minilmv2) does not need it."
            )

    def compared_heads(self, own: int) -> int:
        """Return the number of heads of the (B, heads, L, L) that are compared; own: the model's."""
        return own

    def check_states(self, student: AttentionStates, teacher: AttentionStates) -> None:
        """Raise UserError as `check` does, for captured states."""
        _, heads_s, _, width_s = student.value.shape
        _, heads_t, _, width_t = teacher.value.shape
        self.check(heads_s, heads_s * width_s, heads_t, heads_t * width_t)


class AttentionScoreMSE(AttentionLoss):
    """Squared difference of the scaled scores before softmax, TinyBERT eq. 7 (arXiv:1909.10351).

    Averaged over heads and over the query-key pairs that are real and that both models may attend to (sliding
    windows). Unlike AttentionKL it also matches what a softmax ignores: a constant added to a row. Unlike
    RelationKL it needs equal head counts. TinyBERT's official code counts padded pairs too, as 0 on both
    sides.

    centered: subtract from each row of scores its mean over those pairs, so that such constants are not matched;
    TinyBERT does not.
    """

    reduction = "mean over H, L x L, then B"
    positions = "pairs of real tokens that both models attend to"
    compares_scores: ClassVar[bool] = True
    operands = ("query", "key")

    def __init__(self, *, centered: bool = False) -> None:
        super().__init__()
        self.centered = centered

    def forward(self, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None) -> Tensor:
        """mask: (B, L), True for real tokens, or None. Returns a scalar; raises UserError as `check` does."""
        self.check_states(student, teacher)
        allowed = (student.keep_mask(), teacher.keep_mask())
        return score_mse(student.attention, teacher.attention, mask, allowed=allowed, centered=self.centered)


class AttentionKL(AttentionLoss):
    """1/(H |x|) * sum over heads and rows of KL(A_t || A_s), MiniLM's L_AT (arXiv:2002.10957).

    A is the attention after softmax, without dropout, over the real keys that both models may attend to:
    where one has a sliding window, the other's attention is normalised within it. Unlike ValueRelation it
    compares queries with keys; MiniLM sums the two, for the last layer only. Needs equal head counts.
    """

    reduction = "sum over keys, mean over H, L, then B"
    positions = "pairs of real tokens that both models attend to"
    compares_scores: ClassVar[bool] = True
    operands = ("query", "key")

    def forward(self, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None) -> Tensor:
        """mask: (B, L), True for real tokens, or None. Returns a scalar; raises UserError as `check` does."""
        self.check_states(student, teacher)
        allowed = (student.keep_mask(), teacher.keep_mask())
        return relation_kl(student.attention, teacher.attention, mask, allowed=allowed)
