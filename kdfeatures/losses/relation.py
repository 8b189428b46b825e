"""Losses between self-relations of queries, keys or values: softmax(x x' / sqrt(d)) on each side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from kdfeatures.errors import ConfigError
from kdfeatures.features import OPERANDS, AttentionStates, Operand
from kdfeatures.losses.attention import AttentionLoss
from kdfeatures.losses.kernels.pairwise import relation_kl


class RelationKL(AttentionLoss):
    """Sum over relations of 1/(R |x|) * sum over heads, rows of KL(R_t || R_s), MiniLMv2 (arXiv:2012.15828).

    Unlike AttentionKL and ValueRelation it needs no equal head counts. Relations cover all real tokens, also
    where the model's attention has a sliding window: queries, keys and values exist for every token.

    Args:
        relation_heads: R; each side's heads are concatenated and split again into R relation heads, so head counts
            and widths may differ as long as R divides both attention widths. None keeps the models' own heads, whose
            counts must then agree. The paper has 48 for width 768.
        relations: which operands are related to themselves.

    Raises:
        ConfigError: for an unknown, repeated or missing relation, and for R < 1.

    Example:
        >>> import torch
        >>> from kdfeatures.features import AttentionStates
        >>> student = AttentionStates(*torch.ones(3, 1, 4, 5, 6), scale=1.0)  # 4 heads of 6
        >>> teacher = AttentionStates(*torch.ones(3, 1, 2, 5, 18), scale=1.0)  # 2 heads of 18
        >>> RelationKL(relation_heads=12)(student, teacher).item()  # every token alike, on both sides
        0.0
    """

    reduction = "sum over keys, mean over R, L, then B; sum over relations"
    positions = "pairs of real tokens"

    def __init__(self, *, relation_heads: int | None = None, relations: Sequence[Operand] = OPERANDS) -> None:
        super().__init__()
        names = tuple(relations)
        if not names or len(set(names)) < len(names) or not set(names) <= set(OPERANDS):
            raise ConfigError(
                f"must be a list of distinct names out of {', '.join(OPERANDS)}",
                argument="relations",
                value=relations,
            )
        if relation_heads is not None and relation_heads < 1:
            raise ConfigError(
                "must be at least 1", argument="relation_heads", value=relation_heads, hint="None keeps each model's"
            )
        self.relations: tuple[Operand, ...] = names
        self.operands = names
        self.relation_heads = relation_heads

    def check(self, student_heads: int, student_width: int, teacher_heads: int, teacher_width: int) -> None:
        """Refuse models that cannot be compared.

        Args:
            student_heads: H of the student's attention.
            student_width: its H * d.
            teacher_heads: H of the teacher's attention.
            teacher_width: its H * d.

        Raises:
            ConfigError: unless R divides both attention widths or, with relation_heads=None, the head counts agree.
        """
        common = math.gcd(student_width, teacher_width)
        if self.relation_heads is None and student_heads != teacher_heads:
            raise ConfigError(
                f"compares the models' own heads, but the student has {student_heads} and the teacher {teacher_heads}",
                argument="relation_heads",
                value=None,
                hint=f"set it to a divisor of {common}, so that it divides both attention widths",
            )
        if self.relation_heads is not None and common % self.relation_heads:
            raise ConfigError(
                f"must divide both attention widths, but these are {student_width} (student) and {teacher_width} "
                "(teacher)",
                argument="relation_heads",
                value=self.relation_heads,
                hint=f"choose a divisor of {common}",
            )

    def compared_heads(self, heads: int) -> int:
        return heads if self.relation_heads is None else self.relation_heads

    def forward(self, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None = None) -> Tensor:
        """Compare the relations of a batch.

        Args:
            student: of any number of heads that `check` accepts.
            teacher: likewise. Its operands must not require gradients.
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            ConfigError: as `check` does.
            UserError: when batch or length differ.
        """
        self.check_states(student, teacher)
        heads = self.relation_heads
        # one after the other: resplit heads are copies
        values = (relation_kl(student.relation(of, heads), teacher.relation(of, heads), mask) for of in self.relations)
        return reduce(torch.add, values)


class ValueRelation(AttentionLoss):
    """1/(H |x|) * sum over heads and rows of KL(VR_t || VR_s), MiniLM's L_VR (arXiv:2002.10957).

    VR = softmax(V V' / sqrt(d)) with each side's own head width d, so widths may differ. The same as
    RelationKL(relations=["value"]); unlike AttentionKL it compares values with values. Needs equal head counts.

    Example:
        >>> import torch
        >>> from kdfeatures.features import AttentionStates
        >>> student = AttentionStates(*torch.zeros(3, 1, 1, 2, 1), scale=1.0)  # rows (1/2, 1/2)
        >>> value = torch.tensor([1.0, 3.0]).log().sqrt().view(1, 1, 2, 1)
        >>> teacher = AttentionStates(value, value, value, scale=1.0)  # rows (1/2, 1/2) and (1/4, 3/4)
        >>> round(ValueRelation()(student, teacher).item(), 4)  # 0.1308 / 2
        0.0654
    """

    reduction = "sum over keys, mean over H, L, then B"
    positions = "pairs of real tokens"
    operands: Sequence[Operand] = ("value",)

    def forward(self, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None = None) -> Tensor:
        """Compare the value relations of a batch.

        Args:
            student: of H heads.
            teacher: of as many; widths may differ. Its values must not require gradients.
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            ConfigError: as `check` does.
            UserError: when batch or length differ.
        """
        self.check_states(student, teacher)
        return relation_kl(student.relation("value"), teacher.relation("value"), mask)
