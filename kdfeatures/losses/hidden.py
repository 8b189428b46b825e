"""Losses between hidden states, token by token, (B, L, D) each after projection to one width."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from kdfeatures.errors import UserError
from kdfeatures.losses.base import Inputs
from kdfeatures.losses.kernels.squared_distances import squared_distances
from kdfeatures.masking import blank_padding, full_precision, real_tokens, sequence_mean


class HiddenLoss(nn.Module):
    """Base of the losses on hidden states: checks shapes and blanks padding.

    A loss of your own derives from it, says its `reduction`, and computes on `real_states`; where it takes states of
    different widths as they are, it sets `needs_projection` to False.

    Example:
        >>> import torch
        >>> class HiddenL1(HiddenLoss):
        ...     reduction = "mean over D, L, then B"
        ...     def forward(self, student, teacher, mask=None):
        ...         student, teacher, real = self.real_states(student, teacher, mask)
        ...         return sequence_mean((student - teacher).abs().mean(-1), real)
        >>> HiddenL1()(torch.zeros(1, 2, 3), torch.full((1, 2, 3), 4.0)).item()
        4.0
    """

    inputs: ClassVar[Inputs] = "hidden"
    reduction: ClassVar[str]  # how it averages, in the letters of kdfeatures.features
    positions: ClassVar[str] = "real tokens"
    needs_projection: ClassVar[bool] = True  # false where widths may differ: it is then given the states as they are

    def real(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> Tensor:
        """Return the boolean mask (B, L); raises UserError when the shapes, or shape and mask, disagree."""
        if not self.needs_projection and (
            student.ndim != 3 or teacher.ndim != 3 or student.shape[:2] != teacher.shape[:2]
        ):
            raise UserError(
                f"{type(self).__name__} compares hidden states (batch, tokens, width) of the same tokens, but the "
                f"student gives {tuple(student.shape)} and the teacher {tuple(teacher.shape)}; feed both one batch."
            )
        if self.needs_projection and (student.ndim != 3 or student.shape != teacher.shape):
            raise UserError(
                f"{type(self).__name__} compares hidden states (batch, tokens, width) of one shape, but the "
                f"student gives {tuple(student.shape)} and the teacher {tuple(teacher.shape)}; project one "
                "width to the other and feed both the same tokens."
            )
        return real_tokens(mask, student)

    def real_states(self, student: Tensor, teacher: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Return student and teacher with blank padding, and the boolean mask (B, L). Raises UserError as `real`."""
        real = self.real(student, teacher, mask)
        return blank_padding(student, real), blank_padding(teacher, real), real


class HiddenMSE(HiddenLoss):
    """Squared difference averaged over the width, per real token: TinyBERT eq. 8 (arXiv:1909.10351).

    FitNets' hint loss 1/2 ||t - s||^2 (arXiv:1412.6550) of a token is D/2 times this. Unlike HiddenCosine it
    also matches the length of the vectors. TinyBERT's official code averages over padding too.

    Example:
        >>> import torch
        >>> student, teacher = torch.zeros(1, 2, 3), torch.tensor([[[2.0, 2.0, 2.0], [9.0, 9.0, 9.0]]])
        >>> HiddenMSE()(student, teacher, mask=torch.tensor([[1, 0]])).item()
        4.0
    """

    reduction = "mean over D, L, then B"

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the hidden states of a batch.

        Args:
            student: (B, L, D).
            teacher: (B, L, D).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        real = self.real(student, teacher, mask)
        squares = squared_distances(full_precision(student), full_precision(teacher), real)
        return sequence_mean(squares / student.shape[-1], real)


class HiddenCosine(HiddenLoss):
    """1 - cos(s, t) per real token, DistilBERT's L_cos (arXiv:1910.01108).

    Between 0 and 2. Unlike HiddenMSE it ignores the length of the vectors. DistilBERT averages over all
    tokens of the batch; here each sequence weighs the same.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[1.0, 0.0], [0.0, 5.0]]]), torch.tensor([[[0.0, 2.0], [0.0, 1.0]]])
        >>> HiddenCosine()(student, teacher).item()  # 1 for the first token, 0 for the second
        0.5
    """

    reduction = "mean over L, then B"

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the hidden states of a batch.

        Args:
            student: (B, L, D).
            teacher: (B, L, D).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, real = self.real_states(student, teacher, mask)
        return sequence_mean(1 - F.cosine_similarity(student, teacher, dim=-1), real)


class LayerNormMSE(HiddenLoss):
    """HiddenMSE of layer-normalised states, MobileBERT's feature map transfer (arXiv:2004.02984).

    Each token's state less its mean and divided by its standard deviation over the width, without learned gain or bias,
    as the official code does. A token's value is 2 - 2 r, r the correlation of s and t over the width: unlike
    HiddenMSE it ignores the states' size and offset, unlike HiddenCosine their offset too.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[1.0, 3.0]]]), torch.tensor([[[9.0, 7.0]]])
        >>> round(LayerNormMSE()(student, teacher).item(), 4)  # r = -1
        4.0
    """

    reduction = "mean over D, L, then B"

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the hidden states of a batch.

        Args:
            student: (B, L, D).
            teacher: (B, L, D).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, real = self.real_states(student, teacher, mask)
        normal_s, normal_t = (F.layer_norm(states, states.shape[-1:], eps=1e-12) for states in (student, teacher))
        return sequence_mean((normal_s - normal_t).square().mean(-1), real)


class NormalizedClsMSE(HiddenLoss):
    """Squared difference of L2-normalised [CLS] vectors, mean over the width: PKD eq. 7 (arXiv:1908.09355).

    The mean over the width is the official code's, so the paper's beta carries over; the equation, and
    TextBrewer, sum, which is D times larger. It is 2/D times HiddenCosine of the first token. [CLS] is
    position 0: pad on the right. A sequence whose position 0 is masked is left out.

    Example:
        >>> import torch
        >>> student, teacher = torch.tensor([[[5.0, 0.0], [0.0, 1.0]]]), torch.tensor([[[0.0, 2.0], [0.0, 1.0]]])
        >>> NormalizedClsMSE()(student, teacher).item()  # ((1 - 0)^2 + (0 - 1)^2) / 2
        1.0
    """

    reduction = "mean over D, then B"
    positions = "position 0, [CLS]"

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the [CLS] vectors of a batch.

        Args:
            student: (B, L, D).
            teacher: (B, L, D).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, real = self.real_states(student, teacher, mask)
        difference = F.normalize(student[:, 0], dim=-1) - F.normalize(teacher[:, 0], dim=-1)
        return sequence_mean(difference.square().mean(-1), real[:, 0])
