"""Correlation instead of divergence between the outputs of student and teacher, DIST (arXiv:2205.10536)."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kdfeatures.errors import ConfigError
from kdfeatures.losses.base import Outputs
from kdfeatures.losses.softened import SoftenedLoss, same_outputs


class DIST(SoftenedLoss):
    """T^2 (b mean_i (1 - r(p_i, q_i)) + g mean_c (1 - r(p_.c, q_.c))), r Pearson's correlation.

    p, q = softmax(logits / T) of student and teacher: b compares the classes of an example with each other (rows), g
    the examples of the batch by the probability of one class (columns), which ranks them as the teacher does. With two
    classes a row's r is 1 or -1 and has no gradient, so that there b is left out: the batch alone teaches.
    If C == 1, a regression, it is g (1 - r) of the scores over the batch, what STS-B is scored by; T plays no part,
    and neither size nor offset of the scores is taught, so that labels or LogitMSE must be beside it.
    Where one side is constant, r counts as 0. A batch is not the mean of its examples.

    Args:
        temperature: T > 0; the logits are divided by it.
        inter_weight: b, the weight of relations between classes, 0 or more.
        intra_weight: g, the weight of relations between examples, 0 or more.

    Raises:
        ConfigError: for a bad temperature, and for weights that are negative or both 0.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[1.0], [2.0], [3.0]])
        >>> round(DIST()(5 * scores + 1, scores).item(), 4), round(DIST()(-scores, scores).item(), 4)
        (0.0, 2.0)
    """

    outputs: ClassVar[tuple[Outputs, ...]] = ("classes", "score")
    reduction: ClassVar[str] = "mean over B, and over C"
    rowwise: ClassVar[bool] = False

    def __init__(self, *, temperature: float = 1.0, inter_weight: float = 1.0, intra_weight: float = 1.0) -> None:
        super().__init__(temperature=temperature)
        for name, weight in (("inter_weight", inter_weight), ("intra_weight", intra_weight)):
            if not 0 <= weight < math.inf:
                raise ConfigError("must be a finite number that is not negative", argument=name, value=weight)
        if inter_weight == intra_weight == 0:
            raise ConfigError(
                "leaves nothing to learn, as inter_weight is 0 too",
                argument="intra_weight",
                value=intra_weight,
                hint="raise one of them",
            )
        self.inter_weight, self.intra_weight = inter_weight, intra_weight

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare the outputs of a batch.

        Args:
            student: (B, C).
            teacher: (B, C).

        Returns:
            A scalar.

        Raises:
            UserError: for other shapes.
        """
        student, teacher = same_outputs(self, student, teacher)
        classes = student.shape[1]
        if classes == 1:
            return self.intra_weight * (1 - _correlation(student, teacher, 0)).mean()
        p, q = (F.softmax(logits / self.temperature, dim=1) for logits in (student, teacher))
        loss = self.intra_weight * (1 - _correlation(p, q, 0)).mean()
        if classes > 2:
            loss = loss + self.inter_weight * (1 - _correlation(p, q, 1)).mean()
        return self.temperature**2 * loss


def _correlation(a: Tensor, b: Tensor, dim: int) -> Tensor:
    """Pearson's r along `dim`; 0 where a or b is constant."""
    a, b = a - a.mean(dim, keepdim=True), b - b.mean(dim, keepdim=True)
    size = torch.linalg.vector_norm(a, dim=dim) * torch.linalg.vector_norm(b, dim=dim)
    return (a * b).sum(dim) / torch.where(size > 0, size, 1)
