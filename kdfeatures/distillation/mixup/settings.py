"""How texts are mixed, and how much consistency counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from kdfeatures.distillation.schedules import Schedule
from kdfeatures.distillation.term import ON_LABELS, Term, loss_name
from kdfeatures.errors import ConfigError
from kdfeatures.ranges import NotNegative, Positive

CONSISTENCY = "consistency"  # under which name its value is logged, beside those of the terms


@dataclass(frozen=True)
class Mixup:
    """Mix the embeddings of two texts of a batch, for teacher and student alike, as CR-ILD does (arXiv:2302.01530).

    Of each batch one share is drawn, b ~ Beta(alpha, alpha), and max(b, 1 - b) of text i is mixed with the rest of text
    B - 1 - i where embeddings enter the first layer. A token is real where it is in one of the two.

    With `consistency`, w, the student's layers on the mixed texts x are also held to what it makes of each text alone,
    without a gradient, by the losses L of the terms on layers with their weights:

        w sum of terms (share L(S(x), S(x_i)) + (1 - share) L(S(x), S(x_(B - 1 - i))))

    each over the tokens of the text alone. Terms must not read labels, which belong to no mixed text.

    Args:
        alpha: above 0; small ones leave most texts almost as they are.
        consistency: w, a number or a Schedule.

    Raises:
        ConfigError: for an alpha that is not a finite number above 0, and a negative weight.

    >>> 0.5 <= Mixup(alpha=1.0).draw() <= 1.0
    True
    """

    alpha: float = 1.0
    consistency: float | Schedule = 0.0

    def __post_init__(self) -> None:
        if not Positive.holds(self.alpha):
            raise ConfigError("must be a finite number above 0", argument="alpha", value=self.alpha, key="mixup.alpha")
        scheduled = isinstance(self.consistency, Schedule)
        values = self.consistency.extremes if isinstance(self.consistency, Schedule) else [self.consistency]
        if not all(map(NotNegative.holds, values)):
            raise ConfigError(
                "must be a finite number that is not negative",
                argument=CONSISTENCY,
                value=str(self.consistency) if scheduled else self.consistency,
                key="mixup.consistency",
            )

    @property
    def is_consistent(self) -> bool:
        """Whether the student's own layers are compared at any time."""
        return isinstance(self.consistency, Schedule) or self.consistency > 0

    def draw(self) -> float:
        """Return the share of each text in its mix, from torch's own generator, which checkpoints keep."""
        drawn = torch.distributions.Beta(self.alpha, self.alpha).sample().item()
        return max(drawn, 1 - drawn)


def check_mixup(mixup: Mixup, terms: Mapping[str, Term], *, balanced: bool) -> None:
    """Raise ConfigError for terms that a mix of two texts has nothing to compare with."""
    for name, term in terms.items():
        if term.loss.inputs in ON_LABELS:
            raise ConfigError(
                f"the term '{name}' is {loss_name(term.loss)}, which reads labels, and two texts that mixup mixes have "
                "none in common",
                hint="leave out the term, or mixup",
                key="mixup.labels",
                term=name,
            )
    if not mixup.is_consistent:
        return
    if not any(term.compares_layers for term in terms.values()):
        raise ConfigError(
            "mixup.consistency compares the student's layers by the terms on layers, and there is none",
            hint="set it to 0",
            key="mixup.no_layers",
        )
    if balanced:
        raise ConfigError(
            "weights that follow the gradients know the terms alone, and mixup.consistency is none",
            hint="leave out the balance, or the consistency",
            key="mixup.balanced",
        )
    if CONSISTENCY in terms:
        raise ConfigError(
            f"the term '{CONSISTENCY}' has the name under which that of mixup is logged",
            hint="give it another name",
            key="mixup.name",
        )


def check_mixable(*, stored: bool = False, checkpointed: bool = False, compiled: bool = False) -> None:
    """Raise ConfigError where texts cannot be mixed.

    stored: whether the teacher's features are given. checkpointed, compiled: how the student is run.
    """
    if stored:
        raise ConfigError(
            "mixup asks the teacher about texts that are mixed anew in every step, so its features cannot be stored",
            hint="leave out teacher_features, or mixup",
            key="mixup.stored",
        )
    if checkpointed:
        raise ConfigError(
            "activation checkpointing computes layers again in the backward pass, where texts are no longer mixed",
            hint="leave out one of the two",
            key="mixup.checkpointed",
        )
    if compiled:
        raise ConfigError(
            "mixup draws another share for every batch, and torch.compile would compile each of them anew",
            hint="leave out one of the two",
            key="mixup.compiled",
        )
