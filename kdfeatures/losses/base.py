"""What every loss says of itself, and how a plain function becomes one."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol, TypeGuard, get_args

from torch import Tensor, nn

from kdfeatures.errors import ConfigError, nearest
from kdfeatures.features import OPERANDS, Operand

Inputs = Literal["logits", "labels", "logits, labels", "hidden", "flow", "attention"]
INPUTS: tuple[Inputs, ...] = get_args(Inputs)
# What a row of outputs means, (C,): logits of classes of which one is true; a score, C = 1; logits of labels each of
# which may be true, C >= 1; a vector of a text; or logits of the positions where an answer may start or end, of which
# one is true, with padded ones at a probability of 0: C is then the padded length, which no value may depend on.
Outputs = Literal["classes", "score", "labels", "vector", "positions"]
WITH_TWO_ARGUMENTS: tuple[Inputs, ...] = ("logits", "labels")


class Loss(Protocol):
    """What an objective asks of a loss: to be called, and to say with what; see kdfeatures.losses.

    Beside these, a loss on "logits" or "logits, labels" has a `target_temperature`, one on "hidden" or "flow" says
    whether it `needs_projection` (HiddenLoss), and one on "attention" has what AttentionLoss has.
    """

    @property
    def inputs(self) -> Inputs:
        """What it is called with."""

    @property
    def reduction(self) -> str:
        """How it averages, in the letters of kdfeatures.features."""

    @property
    def positions(self) -> str:
        """Which texts, tokens or pairs of tokens count."""

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Return a scalar."""


class FunctionLoss(nn.Module):
    """A plain function, or a module, as a loss.

    What it does not know of the function it cannot say: how it averages, and whether padding changes it. The losses of
    this package mask padding and average each sequence first; kdfeatures.masking has what they do it with.

    Args:
        function: called with what a loss of these `inputs` is called with: (student, teacher) for "logits",
            (student, labels) for "labels", (student, teacher, labels) for "logits, labels", else
            (student, teacher, mask), mask (B, L) or None. Returns a scalar, differentiable by the student. The
            parameters of a module are those of the loss, too.
        inputs: what it takes; see kdfeatures.losses for the shapes.
        needs_projection: of "hidden" and "flow": whether the widths must be made equal before. False gives it the
            states as they are.
        name: what it is called in reports; by default as the function is.
        target_temperature: of "logits" and "logits, labels": at which temperature it reads the teacher's logits as a
            distribution, T > 0; None for one that compares them as they are. Several teachers are averaged accordingly.

    Raises:
        ConfigError: for unknown `inputs`, for what cannot be called, and for a bad temperature.

    Example:
        >>> import torch
        >>> def largest_gap(student, teacher, mask):
        ...     return (student - teacher).abs().max()
        >>> loss = FunctionLoss(largest_gap)
        >>> loss
        FunctionLoss(largest_gap, inputs='hidden')
        >>> loss(torch.zeros(1, 2, 3), torch.full((1, 2, 3), 4.0)).item()
        4.0
    """

    # of a loss on attention, as AttentionLoss has them
    operands: Sequence[Operand] = OPERANDS
    compares_scores: bool = True
    by_groups: bool = True
    takes_bias: bool = False

    def __init__(
        self,
        function: Callable[..., Tensor],
        *,
        inputs: Inputs = "hidden",
        needs_projection: bool = True,
        name: str | None = None,
        target_temperature: float | None = None,
    ) -> None:
        super().__init__()
        if isinstance(function, type):
            raise ConfigError("is a class", argument="function", value=function.__name__, hint="make one of it first")
        if not callable(function):
            raise ConfigError(
                "cannot be called",
                argument="function",
                value=repr(function),
                hint="give a function of student, teacher and mask, or a module",
            )
        if inputs not in INPUTS:
            known = ", ".join(map(repr, INPUTS))
            raise ConfigError(
                f"is unknown{nearest(inputs, INPUTS)}", argument="inputs", value=inputs, hint=f"choose one of {known}"
            )
        _check_arguments(function, inputs)
        if target_temperature is not None and not 0 < target_temperature < math.inf:
            raise ConfigError(
                "must be a finite number above 0", argument="target_temperature", value=target_temperature
            )
        self.function = function
        self.inputs: Inputs = inputs
        self.reduction = self.positions = "as the function does"
        self.needs_projection = needs_projection
        self.target_temperature = target_temperature
        self.name = _name_of(function) if name is None else name

    def check(self, student_heads: int, student_width: int, teacher_heads: int, teacher_width: int) -> None:
        """Accept any head counts and attention widths: the function knows which it can compare."""

    def compared_heads(self, heads: int) -> int:
        """Return the number of heads that are compared: the model's."""
        return heads

    def forward(self, student: Any, teacher: Any, mask: Tensor | None = None) -> Tensor:
        """Call the function.

        Args:
            student: what the student gives.
            teacher: what the teacher gives; the labels, if these are all it is compared with.
            mask: (B, L), True for real tokens, or None; for "logits, labels" the labels.

        Returns:
            What the function does.
        """
        if self.inputs in WITH_TWO_ARGUMENTS:
            return self.function(student, teacher)
        return self.function(student, teacher, mask)

    def __repr__(self) -> str:
        return f"FunctionLoss({self.name}, inputs={self.inputs!r})"


def _check_arguments(function: Callable[..., Any], inputs: Inputs) -> None:
    """Raise ConfigError for a function that cannot be called with what a loss of these inputs is called with."""
    count = 2 if inputs in WITH_TWO_ARGUMENTS else 3
    called = function.forward if isinstance(function, nn.Module) else function
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):  # one that does not tell
        return
    try:
        signature.bind(*[None] * count)
    except TypeError as error:
        hint = "take the mask as well, (student, teacher, mask)"
        if count == 3 and inputs != "logits, labels":
            hint += ", or say FunctionLoss(function, inputs='logits') for one of logits"
        raise ConfigError(
            f"is called with {count} arguments for inputs={inputs!r}, but takes {signature}",
            argument="function",
            value=_name_of(function),
            hint=hint if count == 3 else "give a function of two",
        ) from error


def as_loss(loss: Loss | Callable[..., Tensor]) -> Loss:
    """Return `loss` as it is, or a plain function or module of hidden states as a loss.

    Args:
        loss: a loss, that is anything that says what it `inputs`, or a function of student, teacher and mask.

    Returns:
        The loss itself, or FunctionLoss(loss).

    Raises:
        ConfigError: for a class, and for what cannot be called.

    Example:
        >>> from kdfeatures.losses import HiddenMSE
        >>> as_loss(HiddenMSE())
        HiddenMSE()
        >>> as_loss(lambda student, teacher, mask: (student - teacher).abs().mean())
        FunctionLoss(<lambda>, inputs='hidden')
    """
    if isinstance(loss, type):
        raise ConfigError("is a class", argument="loss", value=loss.__name__, hint=f"give one: {loss.__name__}(...)")
    return loss if _says_its_inputs(loss) else FunctionLoss(loss)


def _says_its_inputs(loss: Loss | Callable[..., Tensor]) -> TypeGuard[Loss]:
    return hasattr(loss, "inputs")


def _name_of(function: Callable[..., Tensor]) -> str:
    while isinstance(function, partial):
        function = function.func
    return getattr(function, "__name__", type(function).__name__)
