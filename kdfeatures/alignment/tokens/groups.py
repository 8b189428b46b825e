"""Features of two tokenizers brought to common tokens: groups of tokens that cover the same characters.

Hidden states, queries, keys and values of a group are the mean of its tokens. Attention from one group to another is
summed over the keys of the second and averaged over the queries of the first, so that rows still sum to 1. Groups of
one token each on both sides change nothing.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from kdfeatures.features import AttentionStates

Side = Literal["student", "teacher"]


class Grouped(NamedTuple):
    """One side of a batch. groups: (B, L), the group of each token, negative for none. mask: (B, L), real tokens."""

    groups: Tensor
    mask: Tensor


class TokenGroups(NamedTuple):
    """The groups of a batch (kdfeatures.alignment.tokens.spans), G at most in a text.

    Args:
        student: its tokens.
        teacher: its tokens, which may be more or fewer.
        mask: (B, G), True for groups that there are.

    Example:
        >>> import torch
        >>> real = torch.ones(1, 3, dtype=torch.bool)
        >>> groups = TokenGroups(
        ...     Grouped(torch.tensor([[0, 1, 1]]), real), Grouped(torch.tensor([[0, 0, 1]]), real), real[:, :2]
        ... )
        >>> groups.hidden(torch.tensor([[[1.0], [2.0], [4.0]]]), "student").flatten().tolist()
        [1.0, 3.0]
    """

    student: Grouped
    teacher: Grouped
    mask: Tensor

    def hidden(self, states: Tensor, side: Side) -> Tensor:
        """Return the mean hidden state of every group, (B, G, D), of those of tokens, (B, L, D)."""
        with in_full_precision(states):
            members = self._members(side, states.dtype)
            return _mean(members, _blank(states, self._of(side).groups))

    def attention(self, states: AttentionStates, side: Side, *, probabilities: bool) -> AttentionStates:
        """Return attention states of groups.

        Args:
            states: of tokens, operands (B, H, L, d).
            side: whose they are.
            probabilities: for losses that compare queries with keys. The scores of what is returned are then the
                logarithms of the probabilities between groups, (B, H, G, G), which softmax turns into these again; its
                operands are no queries and keys.

        Returns:
            Operands (B, H, G, d), the means of each group; or with probabilities query (B, H, G, G) and key the
            identity.
        """
        with in_full_precision(states.value):
            return self._attention(states, side, probabilities)

    def _attention(self, states: AttentionStates, side: Side, probabilities: bool) -> AttentionStates:
        grouped = self._of(side)
        members = self._members(side, states.value.dtype)[:, None]
        query, key, value = (
            _mean(members, _blank(operand, grouped.groups)) for operand in (states.query, states.key, states.value)
        )
        keep = states.keep_mask()
        allowed = None if keep is None else (members @ keep.to(members.dtype) @ members.mT) > 0
        if not probabilities:
            return AttentionStates(query, key, value, states.scale, allowed, positional=states.positional)
        real = grouped.mask.bool()[:, None, None, :]
        probs = _blank(states.probs(real), grouped.groups)
        members = members.to(probs.dtype)
        # padded keys may hold anything, also where a model computed the probabilities itself
        of_groups = _mean(members, torch.where(real, probs, 0)) @ members.mT
        scores = of_groups.clamp(min=torch.finfo(of_groups.dtype).tiny).log()
        identity = torch.eye(scores.shape[-1], dtype=scores.dtype, device=scores.device).expand_as(scores)
        return AttentionStates(scores, identity, value, 1.0, allowed)

    def _of(self, side: Side) -> Grouped:
        return self.student if side == "student" else self.teacher

    def _members(self, side: Side, dtype: torch.dtype) -> Tensor:
        """Return which tokens are in which group, 0 or 1, (B, G, L)."""
        groups = self._of(side).groups
        numbers = torch.arange(self.mask.shape[1], device=groups.device)
        return (groups[:, None, :] == numbers[:, None]).to(torch.promote_types(dtype, torch.float32))


def in_full_precision(states: Tensor) -> torch.autocast:
    """Autocast would run the matmuls in half precision although their operands are float32."""
    return torch.autocast(states.device.type, enabled=False)


def _mean(members: Tensor, states: Tensor) -> Tensor:
    return members @ states / members.sum(-1, keepdim=True).clamp(min=1)


def _blank(states: Tensor, groups: Tensor) -> Tensor:
    """Return states (B, ..., L, d) in full precision, 0 at tokens of no group: padding may hold anything."""
    shape = (len(groups), *[1] * (states.ndim - 3), groups.shape[1], 1)
    full = states.to(torch.promote_types(states.dtype, torch.float32))
    return torch.where((groups >= 0).view(shape), full, 0)
