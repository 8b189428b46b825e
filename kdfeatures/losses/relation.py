"""Losses between self-relations of queries, keys or values: softmax(x x' / sqrt(d)) on each side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

from torch import Tensor

from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates
from kdfeatures.losses.attention import AttentionLoss
from kdfeatures.losses.kernels.pairwise import relation_kl

Operand = Literal["query", "key", "value"]


class RelationKL(AttentionLoss):
    """Sum over relations of 1/(R |x|) * sum over heads, rows of KL(R_t || R_s), MiniLMv2 (arXiv:2012.15828).

    relations: which operands are related to themselves.
    heads: R; each side's heads are concatenated and split again into R relation heads, so head counts and
    widths may differ as long as R divides both attention widths. None keeps the models' own heads, whose
    counts must then agree.

    Unlike AttentionKL and ValueRelation it needs no equal head counts. Relations cover all real tokens, also
    where the model's attention has a sliding window: queries, keys and values exist for every token.
    """

    reduction = "sum over keys, mean over R, L, then B; sum over relations"
    positions = "pairs of real tokens"

    def __init__(self, *, heads: int | None, relations: Sequence[Operand] = ("query", "key", "value")) -> None:
        """Raises UserError for an unknown, repeated or missing relation, and for R < 1."""
        super().__init__()
        known = get_args(Operand)
        names = list(relations)
        if not names or len(set(names)) < len(names) or not set(names) <= set(known):
            raise UserError(
                f"relations must be a list of distinct names out of {', '.join(known)}, but is {relations!r}."
            )
        if heads is not None and heads < 1:
            raise UserError(
                f"RelationKL needs at least 1 relation head, but heads is {heads}; None keeps each model's."
            )
        self.relations = self.operands = tuple(names)
        self.heads = heads

    def check(self, student_heads: int, student_width: int, teacher_heads: int, teacher_width: int) -> None:
        """Raise UserError unless R divides both attention widths or, with heads=None, heads agree."""
        common = math.gcd(student_width, teacher_width)
        if self.heads is None and student_heads != teacher_heads:
            raise UserError(
                "RelationKL with heads=None compares the models' own heads, but the student has "
                f"{student_heads} and the teacher {teacher_heads}; set heads to a divisor of {common}, so "
                "that it divides both attention widths."
            )
        if self.heads is not None and common % self.heads:
            raise UserError(
                f"RelationKL's heads={self.heads} must divide both attention widths, but these are "
                f"{student_width} (student) and {teacher_width} (teacher); choose a divisor of {common}."
            )

    def compared_heads(self, own: int) -> int:
        return own if self.heads is None else self.heads

    def forward(self, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None) -> Tensor:
        """mask: (B, L), True for real tokens, or None. Returns a scalar; raises UserError as `check` does."""
        self.check_states(student, teacher)
        return sum(
            relation_kl(student.relation(of, self.heads), teacher.relation(of, self.heads), mask)
            for of in self.relations
        )


class ValueRelation(AttentionLoss):
    """1/(H |x|) * sum over heads and rows of KL(VR_t || VR_s), MiniLM's L_VR (arXiv:2002.10957).

    VR = softmax(V V' / sqrt(d)) with each side's own head width d, so widths may differ. The same as
    RelationKL(relations=["value"], heads=None); unlike AttentionKL it compares values with values. Needs
    equal head counts.
    """

    reduction = "sum over keys, mean over H, L, then B"
    positions = "pairs of real tokens"
    operands = ("value",)

    def forward(self, student: AttentionStates, teacher: AttentionStates, mask: Tensor | None) -> Tensor:
        """mask: (B, L), True for real tokens, or None. Returns a scalar; raises UserError as `check` does."""
        self.check_states(student, teacher)
        return relation_kl(student.relation("value"), teacher.relation("value"), mask)
