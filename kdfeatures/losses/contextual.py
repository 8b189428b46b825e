"""Contextual distillation: how the tokens of a text lie to each other, and how each moves between layers.

CKD (Park, Kim, Yang 2021, arXiv:2109.08359). Nothing is projected: widths may differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from kdfeatures.errors import ConfigError
from kdfeatures.losses.base import Inputs
from kdfeatures.losses.hidden import HiddenLoss
from kdfeatures.masking import sequence_mean


class TokenSimilarityKL(HiddenLoss):
    """KL(softmax_j cos(t_i, t_j) || softmax_j cos(s_i, s_j)) over the other real tokens j, averaged over tokens i.

    The pairwise word relation of CKD, with the cosine that its official code takes. A text of one token gives
    0. The official code divides the sum over tokens by n^2 instead of n.

    Example:
        >>> import torch
        >>> student, teacher = torch.eye(3)[None], torch.tensor([[[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]])
        >>> TokenSimilarityKL()(teacher, teacher).item()
        0.0
        >>> round(TokenSimilarityKL()(student, teacher).item(), 4)  # (.88, .12) twice and (.5, .5), against (.5, .5)
        0.2185
    """

    reduction = "sum over L, mean over L, then B"
    positions = "pairs of two real tokens"
    needs_projection: ClassVar[bool] = False

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the hidden states of a batch.

        Args:
            student: (B, L, D_s).
            teacher: (B, L, D_t).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, real = self.real_states(student, teacher, mask)
        others = real[:, None] & ~torch.eye(real.shape[1], dtype=torch.bool, device=real.device)
        log_s, log_t = (_log_shares(states, others) for states in (student, teacher))
        divergence = F.kl_div(log_s, log_t, reduction="none", log_target=True).sum(-1)
        return sequence_mean(divergence, real)


class TokenAngle(HiddenLoss):
    """smooth_l1 between the cosines of the angle at token j between i and k, all three within a window of tokens.

    The triple-wise word relation of CKD: i and k are real, differ from j and from each other, and lie at most
    (window - 1) / 2 tokens from it; averaged over the triples of a text, one without any
    gives 0. It costs B L window^2 numbers, and
    B L window D for the directions. The official code counts i = k and tokens beyond the ends, repeated, too.

    Args:
        window: tokens, odd and at least 3; CKD has 21.

    Raises:
        ConfigError: for another window.

    Example:
        >>> import torch
        >>> line, corner = torch.tensor([[[0.0], [1.0], [3.0]]]), torch.eye(3)[None]
        >>> TokenAngle()(10 * line, line).item()
        0.0
        >>> round(TokenAngle()(line, corner).item(), 4)  # cosines (1, -1, 1) against (1/2, 1/2, 1/2)
        0.4167
    """

    reduction = "mean over triples of tokens, then B"
    positions = "triples of three real tokens within a window"
    needs_projection: ClassVar[bool] = False

    def __init__(self, *, window: int = 21) -> None:
        super().__init__()
        if window < 3 or window % 2 == 0:
            raise ConfigError("must be odd and at least 3", argument="window", value=window, hint="CKD has 21")
        self.window = window

    def forward(self, student: Tensor, teacher: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compare the hidden states of a batch.

        Args:
            student: (B, L, D_s).
            teacher: (B, L, D_t).
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        student, teacher, real = self.real_states(student, teacher, mask)
        length, reach = real.shape[1], min(self.window // 2, real.shape[1] - 1)
        offsets = torch.cat([torch.arange(-reach, 0), torch.arange(1, reach + 1)]).to(real.device)
        at = torch.arange(length, device=real.device)[:, None] + offsets  # (L, w)
        inside = (at >= 0) & (at < length)
        at = at.clamp(0, length - 1)
        near = real[:, at] & inside & real[..., None]  # (B, L, w)
        triples = near[..., :, None] & near[..., None, :] & ~torch.eye(len(offsets), dtype=torch.bool, device=at.device)
        cosines_s, cosines_t = (_angles(states, at) for states in (student, teacher))
        differences = F.smooth_l1_loss(cosines_s, cosines_t, reduction="none").masked_fill(~triples, 0)
        counts = triples.sum((1, 2, 3)).clamp(min=1)
        return sequence_mean(differences.sum((1, 2, 3)) / counts, real.any(-1))


class FlowCosine(HiddenLoss):
    """(cos(s, s+) - cos(t, t+))^2 per real token, s and s+ its states in a mapped layer and in the next one.

    How far a layer turns each token: the layer transforming relation of CKD, of consecutive pairs of layers.
    The official code has a softmax over all layers, and the angles between three; neither lets the memory of a layer
    go before the last one is computed.

    Example:
        >>> import torch
        >>> x, y = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 2.0]]])
        >>> FlowCosine()((x, x), (x, y)).item()  # not turned at all, against a right angle
        1.0
    """

    inputs: ClassVar[Inputs] = "flow"
    reduction = "mean over L, then B"
    needs_projection: ClassVar[bool] = False

    def forward(self, student: Sequence[Tensor], teacher: Sequence[Tensor], mask: Tensor | None = None) -> Tensor:
        """Compare the step from one mapped pair of layers to the next.

        Args:
            student: two (B, L, D_s), of the first and of the second pair.
            teacher: two (B, L, D_t), likewise.
            mask: (B, L), True for real tokens; None when all are.

        Returns:
            A scalar.

        Raises:
            UserError: when the shapes, or shape and mask, disagree.
        """
        s1, t1, real = self.real_states(student[0], teacher[0], mask)
        s2, t2, _ = self.real_states(student[1], teacher[1], mask)
        turned = F.cosine_similarity(s1, s2, dim=-1) - F.cosine_similarity(t1, t2, dim=-1)
        return sequence_mean(turned.square(), real)


def _log_shares(states: Tensor, others: Tensor) -> Tensor:
    """Return log softmax over the other tokens of the cosine, (B, L, L); 0 at what does not count."""
    directions = F.normalize(states, dim=-1)
    with torch.autocast(states.device.type, enabled=False):
        cosines = directions @ directions.mT
    shares = F.log_softmax(cosines.masked_fill(~others, torch.finfo(cosines.dtype).min), dim=-1)
    return shares.masked_fill(~others, 0)


def _angles(states: Tensor, at: Tensor) -> Tensor:
    """Return the cosines of the angles at each token between those near it, (B, L, w, w)."""
    differences = states[:, at] - states[:, :, None]  # (B, L, w, D)
    lengths = torch.linalg.vector_norm(differences, dim=-1, keepdim=True)
    directions = differences / torch.where(lengths > 0, lengths, 1)
    with torch.autocast(states.device.type, enabled=False):
        return directions @ directions.mT
