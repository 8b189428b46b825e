"""Losses between the attention of student and teacher, head by head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from kdfeatures.errors import ConfigError
from kdfeatures.features import OPERANDS, AttentionStates, Operand
from kdfeatures.losses.base import Inputs
from kdfeatures.losses.kernels.pairwise import relation_kl, score_mse


class AttentionLoss(nn.Module):
    """Base of the losses on attention operands: says before training whether two models can be compared.

    A loss of your own derives from it, says its `reduction` and `positions`, and overrides `check` where head counts
    may differ. It sets `compares_scores` where it derives the models' own scores from q and k, which not every model
    allows, and `operands` where it does not read all three: the feature cache keeps no other.
    """

    inputs: ClassVar[Inputs] = "attention"
    reduction: ClassVar[str]  # how it averages, in the letters of kdfeatures.features
    positions: ClassVar[str]  # which positions do
    compares_scores: ClassVar[bool] = False
    takes_bias: ClassVar[bool] = False  # whether it reads scores from AttentionStates.attention, with position terms
    by_groups: ClassVar[bool] = True  # whether it means something between groups of tokens of two tokenizers
    operands: Sequence[Operand] = OPERANDS

    def check(self, student_heads: int, student_width: int, teacher_heads: int, teacher_width: int) -> None:
        """Refuse models that cannot be compared: here, those of unequal head counts; the widths may differ.

        Args:
            student_heads: H of the student's attention.
            student_width: its H * d.
            teacher_heads: H of the teacher's attention.
            teacher_width: its H * d.

        Raises:
            ConfigError: when the head counts differ.
        """
        if student_heads != teacher_heads:
            ways = "a way to bring heads together makes them equal, and " if self.compares_scores else ""
            raise ConfigError(
                f"{type(self).__name__} needs equal head counts, but the student has {student_heads} heads "
                f"and the teacher {teacher_heads}",
                hint=f"{ways}RelationKL does not need it",
                key="loss.heads",
                loss=type(self).__name__,
                student_heads=student_heads,
                teacher_heads=teacher_heads,
                compares_scores=self.compares_scores,
            )

    def compared_heads(self, heads: int) -> int:
        """Return the number of heads of the (B, heads, L, L) that are compared; heads: the model's."""
        return heads

    def check_states(self, student: AttentionStates, teacher: AttentionStates) -> None:
        """Raise ConfigError as `check` does, for captured states."""
        _, heads_s, _, width_s = student.value.shape
        _, heads_t, _, width_t = teacher.value.shape
        self.check(heads_s, heads_s * width_s, heads_t, heads_t * width_t)


class AttentionScoreMSE(AttentionLoss):
    """Squared difference of the scaled scores before softmax, TinyBERT eq. 7 (arXiv:1909.10351).

    Averaged over heads and over the query-key pairs that are real and that both models may attend to (sliding
    windows). Unlike AttentionKL it also matches what a softmax ignores: a constant added to a row. Unlike
    RelationKL it needs equal head counts. TinyBERT's official code counts padded pairs too, as 0 on both
    sides.

    Args:
        centered: subtract from each row of scores its mean over those pairs, so that such constants are not matched;
            TinyBERT does not.

    Example:
        >>> import torch
        >>> from kdfeatures.features import AttentionStates
        >>> student = AttentionStates(*torch.ones(3, 1, 1, 4, 2), scale=0.5)  # all scores 0.5 * 2
        >>> teacher = AttentionStates(*torch.ones(3, 1, 1, 4, 3), scale=1.0)  # all scores 3
        >>> AttentionScoreMSE()(student, teacher).item(), AttentionScoreMSE(centered=True)(student, teacher).item()
        (4.0, 0.0)
    """

    reduction = "mean over H, L x L, then B"
    positions = "pairs of real tokens that both models attend to"
    compares_scores: ClassVar[bool] = True
    takes_bias: ClassVar[bool] = True
    by_groups: ClassVar[bool] = False
    operands: Sequence[Operand] = ("query", "key")

    def __init__(self, *, centered: bool = False) -> None:
        super().__init__()
        self.centered = centered

    def forward(self, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None = None) -> Tensor:
        """Compare the attention of a batch.

        Args:
            student: of H heads.
            teacher: of as many; widths may differ. Its operands must not require gradients.
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            ConfigError: as `check` does, and for a model whose scores do not follow from q and k.
            UserError: when batch or length differ.
        """
        self.check_states(student, teacher)
        allowed = (student.keep_mask(), teacher.keep_mask())
        return score_mse(student.attention, teacher.attention, mask, allowed=allowed, centered=self.centered)


class AttentionKL(AttentionLoss):
    """1/(H |x|) * sum over heads and rows of KL(A_t || A_s), MiniLM's L_AT (arXiv:2002.10957).

    A is the attention after softmax, without dropout, over the real keys that both models may attend to:
    where one has a sliding window, the other's attention is normalised within it. Unlike ValueRelation it
    compares queries with keys; MiniLM sums the two, for the last layer only. Needs equal head counts.

    Example:
        >>> import torch
        >>> from kdfeatures.features import AttentionStates
        >>> key = torch.tensor([1.0, 3.0]).log().view(1, 1, 2, 1)
        >>> student = AttentionStates(torch.zeros(1, 1, 2, 1), key, key, scale=1.0)  # rows (1/2, 1/2)
        >>> teacher = AttentionStates(torch.ones(1, 1, 2, 1), key, key, scale=1.0)  # rows (1/4, 3/4)
        >>> round(AttentionKL()(student, teacher).item(), 4)
        0.1308
    """

    reduction = "sum over keys, mean over H, L, then B"
    positions = "pairs of real tokens that both models attend to"
    compares_scores: ClassVar[bool] = True
    takes_bias: ClassVar[bool] = True
    operands: Sequence[Operand] = ("query", "key")

    def forward(self, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None = None) -> Tensor:
        """Compare the attention of a batch.

        Args:
            student: of H heads.
            teacher: of as many; widths may differ. Its operands must not require gradients.
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            ConfigError: as `check` does, and for a model whose scores do not follow from q and k.
            UserError: when batch or length differ.
        """
        self.check_states(student, teacher)
        allowed = (student.keep_mask(), teacher.keep_mask())
        return relation_kl(student.attention, teacher.attention, mask, allowed=allowed)
