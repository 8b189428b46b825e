"""Losses over a vocabulary without the vocabulary: logits are made from states chunk by chunk, and never kept.

A batch of 4,096 tokens has 125 million logits over 30,522 pieces, and a loss between two models' holds seven times as
many numbers until backward. Here the decoder belongs to the loss: of a chunk of tokens the logits of both models, the
terms' values and the gradients are made at once, and what stays are gradients of the size of the states and of the
decoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from kdfeatures.errors import UserError
from kdfeatures.features import VocabularyLogits
from kdfeatures.losses.kernels.precomputed_gradients import with_known_gradients
from kdfeatures.losses.kernels.row_blocks import row_blocks, value_and_gradient
from kdfeatures.masking import full_precision

CHUNK = 5  # blocks of logits that one matrix product makes


@dataclass(frozen=True)
class OutputTerm:
    """A term between logits, of a loss that is a mean over rows (`rowwise`), and what the rows are compared with.

    loss: called with the student's logits (rows, V), then the teacher's, then the labels, as far as they are not None.
    weight: what its value is multiplied by in the total. teacher: (rows, V). labels: (rows,).
    """

    loss: Any
    weight: float
    teacher: Tensor | VocabularyLogits | None = None
    labels: Tensor | None = None

    @property
    def counted(self) -> Tensor | None:
        """Which rows the mean is over, boolean (rows,); None for all."""
        counted = getattr(self.loss, "counted", None)
        return None if counted is None or self.labels is None else counted(self.labels)

    def mean(self, student: Tensor) -> Tensor:
        """Return the value for logits (rows, V) that are made, as those of the teacher are."""
        value: Tensor = self.loss(student, *(other for other in (self.teacher, self.labels) if other is not None))
        return value

    def at(self, rows: Tensor | slice) -> OutputTerm:
        """Return the term for chosen rows."""
        teacher = self.teacher.at(rows) if isinstance(self.teacher, VocabularyLogits) else _at(self.teacher, rows)
        return replace(self, teacher=teacher, labels=_at(self.labels, rows))

    def with_operands(self) -> OutputTerm:
        """Return the term with `operands` of a teacher whose logits are not made."""
        return replace(self, teacher=self.teacher.operands()) if isinstance(self.teacher, VocabularyLogits) else self

    def with_logits(self) -> OutputTerm:
        """Return the term with the teacher's logits made."""
        return replace(self, teacher=self.teacher.logits()) if isinstance(self.teacher, VocabularyLogits) else self


def vocabulary_loss(student: VocabularyLogits, terms: Sequence[OutputTerm]) -> tuple[Tensor, list[Tensor]]:
    """Return the weighted sum of terms, a scalar, and their values without weights or graph.

    Equal to the losses of `student.logits()`. The gradients for states, weight and bias are made with the value, and
    have no derivative of their own. Where every term counts some rows only, logits of the others are never made.

    Args:
        student: states (rows, D).
        terms: with the same rows.

    Raises:
        UserError: for a teacher with another number of rows or another vocabulary.
    """
    for term in terms:
        if term.teacher is not None and tuple(term.teacher.shape) != student.shape:
            raise UserError(
                f"{type(term.loss).__name__} compares logits (tokens, vocabulary) of one shape, but the student gives "
                f"{student.shape} and the teacher {tuple(term.teacher.shape)}; use models of one vocabulary."
            )
    counted = [rows for rows in (term.counted for term in terms) if rows is not None]
    if len(counted) == len(terms):
        rows = torch.stack(counted).any(0).nonzero().flatten()
        student, terms = student.at(rows), [term.at(rows) for term in terms]
    total, values, gradients = _by_chunks(student, terms)
    return gradients.attached_to(total), values


def _by_chunks(student: VocabularyLogits, terms: Sequence[OutputTerm]) -> tuple[Tensor, list[Tensor], _Gradients]:
    rows, columns = student.shape
    device = student.states.device
    operands, terms = student.operands(), [term.with_operands() for term in terms]
    counts = [_number(term, rows).clamp(min=1) for term in terms]
    gradients = _Gradients(student, operands)
    values = torch.zeros(len(terms), dtype=gradients.dtype, device=device)
    weights = torch.tensor([term.weight for term in terms], dtype=gradients.dtype, device=device)
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        for chunk in row_blocks(rows, columns, device, times=CHUNK):
            logits = operands.at(chunk).logits()
            of_chunk = [term.at(chunk).with_logits() for term in terms]
            for block in row_blocks(len(logits), columns, device):
                of_block = [term.at(block) for term in of_chunk]
                summed = _Weighted(of_block, counts, weights)
                if gradients.wanted:
                    _, logits[block] = value_and_gradient(summed, logits[block])
                else:
                    summed(logits[block])
                values += summed.parts
            gradients.add(chunk, logits)
    return (weights * values).sum(), list(values), gradients


class _Weighted:
    """The weighted sum of what terms contribute for some rows to their means over all; `parts` keeps each."""

    parts: Tensor

    def __init__(self, terms: Sequence[OutputTerm], counts: Sequence[Tensor], weights: Tensor) -> None:
        self.terms, self.counts, self.weights = terms, counts, weights

    def __call__(self, student: Tensor) -> Tensor:
        of_terms = zip(self.terms, self.counts, strict=True)
        parts = torch.stack([term.mean(student) * (_number(term, len(student)) / count) for term, count in of_terms])
        self.parts = parts.detach()
        return (self.weights * parts).sum()


class _Gradients:
    """What the states, the weight and the bias of a decoder get, made chunk by chunk."""

    def __init__(self, student: VocabularyLogits, operands: VocabularyLogits) -> None:
        weight = operands.weight
        self.student, self.operands, self.dtype = student, operands, full_precision(weight[:0]).dtype
        self.states = torch.empty_like(operands.states) if _is_learned(student.states) else None
        self.weight = torch.zeros_like(weight, dtype=self.dtype) if _is_learned(student.weight) else None
        self.bias = weight.new_zeros(len(weight), dtype=self.dtype) if _is_learned(student.bias) else None

    @property
    def wanted(self) -> bool:
        return not (self.states is None and self.weight is None and self.bias is None)

    def add(self, chunk: slice, of_logits: Tensor) -> None:
        """Add what follows from the gradients of a chunk's logits, (rows, V)."""
        if self.states is not None:
            torch.mm(of_logits, self.operands.weight, out=self.states[chunk])
        if self.weight is not None and of_logits.dtype == self.dtype:
            self.weight.addmm_(of_logits.mT, self.operands.states[chunk])
        elif self.weight is not None:
            self.weight += of_logits.mT @ self.operands.states[chunk]
        if self.bias is not None:
            self.bias += of_logits.sum(0, dtype=self.dtype)

    def attached_to(self, value: Tensor) -> Tensor:
        """Return the value, whose gradients these are."""
        student = self.student
        inputs = zip((student.states, student.weight, student.bias), (self.states, self.weight, self.bias), strict=True)
        known = {x: gradient for x, gradient in inputs if x is not None and gradient is not None}
        return with_known_gradients(value, known) if known else value


def _number(term: OutputTerm, rows: int) -> Tensor:
    """Return how many of the rows a term's mean is over."""
    counted = term.counted
    return torch.tensor(rows) if counted is None else counted.sum()


def _is_learned(tensor: Tensor | None) -> bool:
    return torch.is_grad_enabled() and tensor is not None and tensor.requires_grad


def _at(tensor: Tensor | None, rows: Tensor | slice) -> Tensor | None:
    return None if tensor is None else tensor[rows]
