"""Losses on the one vector that an embedding model makes of a text: those between hidden states, on one token."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from kdfeatures.errors import ConfigError, UserError
from kdfeatures.losses.base import Inputs, Loss, Outputs, as_loss
from kdfeatures.losses.hidden import HiddenCosine, HiddenMSE
from kdfeatures.losses.rkd import RKDAngle, RKDDistance
from kdfeatures.losses.similarity import BatchSimilarity


class EmbeddingLoss(nn.Module):
    """A loss between hidden states, given each text's vector in the place of its tokens: (B, 1, D), all real.

    The losses below are it with one of the package's. Where `needs_projection` and the widths differ, a learned map
    from the student's to the teacher's is made, trained and saved.

    Args:
        loss: a loss on "hidden".

    Raises:
        ConfigError: for a loss on other inputs.

    Example:
        >>> import torch
        >>> from kdfeatures.losses import HiddenCosine
        >>> EmbeddingLoss(HiddenCosine())(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])).item()
        1.0
    """

    inputs: ClassVar[Inputs] = "logits"
    outputs: ClassVar[tuple[Outputs, ...]] = ("vector",)
    target_temperature: ClassVar[None] = None
    reduction: ClassVar[str] = "as the loss inside does"
    positions: ClassVar[str] = "all texts"

    def __init__(self, loss: Loss) -> None:
        super().__init__()
        loss = as_loss(loss)
        if loss.inputs != "hidden":
            raise ConfigError(
                f"compares {loss.inputs}", argument="loss", value=type(loss).__name__, hint="give one on hidden states"
            )
        self.loss = loss
        self.needs_projection: bool = getattr(loss, "needs_projection", True)

    def forward(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Compare the vectors of a batch.

        Args:
            student: (B, D), after projection.
            teacher: (B, D), or (B, D_t) where no projection is needed.

        Returns:
            A scalar.

        Raises:
            UserError: for other shapes.
        """
        if student.ndim != 2 or teacher.ndim != 2 or len(student) != len(teacher):
            raise UserError(
                f"EmbeddingLoss compares vectors (batch, width), but the student gives {tuple(student.shape)} and the "
                f"teacher {tuple(teacher.shape)}."
            )
        return self.loss(student[:, None], teacher[:, None], None)


class EmbeddingCosine(EmbeddingLoss):
    """1 - cos of the vectors that student and teacher make of a text, averaged over texts.

    Example:
        >>> import torch
        >>> EmbeddingCosine()(torch.tensor([[1.0, 0.0]]), torch.tensor([[5.0, 0.0]])).item()
        0.0
    """

    reduction = "mean over B"

    def __init__(self) -> None:
        super().__init__(HiddenCosine())


class EmbeddingMSE(EmbeddingLoss):
    """Squared error of the vectors, averaged over dimensions and texts, as in Reimers and Gurevych (arXiv:2004.09813).

    Of vectors of length 1 it is 2 / D of EmbeddingCosine.

    Example:
        >>> import torch
        >>> round(EmbeddingMSE()(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])).item(), 4)
        1.0
    """

    reduction = "mean over D, B"

    def __init__(self) -> None:
        super().__init__(HiddenMSE())


class EmbeddingSimilarity(EmbeddingLoss):
    """BatchSimilarity of the vectors: squared difference of the cosines between the texts of a batch; any widths.

    Example:
        >>> import torch
        >>> alike, apart = torch.tensor([[1.0, 0.0], [2.0, 0.0]]), torch.eye(2)
        >>> EmbeddingSimilarity()(alike, apart).item()
        1.0
    """

    reduction = "mean over B (B - 1) pairs of texts"

    def __init__(self) -> None:
        super().__init__(BatchSimilarity())


class EmbeddingRKDDistance(EmbeddingLoss):
    """RKDDistance of the vectors: their distances, relative to the batch's mean one (arXiv:1904.05068); any widths.

    Example:
        >>> import torch
        >>> line = torch.tensor([[0.0], [1.0], [3.0]])
        >>> EmbeddingRKDDistance()(10 * line, line).item()
        0.0
    """

    reduction = "mean over B (B - 1) pairs of texts"

    def __init__(self) -> None:
        super().__init__(RKDDistance())


class EmbeddingRKDAngle(EmbeddingLoss):
    """RKDAngle of the vectors: the angles between three texts (arXiv:1904.05068); any widths.

    Example:
        >>> import torch
        >>> corner = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> EmbeddingRKDAngle()(3 * corner, corner).item() < 1e-9
        True
    """

    reduction = "mean over B (B - 1) (B - 2) triples of texts"

    def __init__(self) -> None:
        super().__init__(RKDAngle())
