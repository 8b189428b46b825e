"""Random relations, and the losses over token pairs with all scores materialised, as an oracle."""

import torch

from kdfeatures.features import Relation


def relations(batch, heads, length, width_s, width_t, dtype=torch.float64, itself=False, seed=0):
    """A student whose operands require gradients and a teacher."""
    random = torch.Generator().manual_seed(seed)

    def operand(width):
        # as captured: a view of (B, L, H * d)
        states = torch.randn(batch, length, heads * width, generator=random, dtype=torch.float64).to(dtype)
        return states.view(batch, length, heads, width).transpose(1, 2)

    left_s, left_t = operand(width_s).requires_grad_(), operand(width_t)
    right_s = left_s if itself else operand(width_s).requires_grad_()
    return Relation(left_s, right_s, 0.4), Relation(left_t, left_t if itself else operand(width_t), 0.3)


def lengths_mask(lengths, length):
    return torch.arange(length) < torch.tensor(lengths)[:, None]


def window(reach, length):
    position = torch.arange(length)
    return (position[:, None] - position).abs() <= reach


def _materialised(student, teacher, mask, allowed):
    shape = student.left.shape
    pairs = torch.ones(*shape[:3], shape[2], dtype=torch.bool)
    if mask is not None:
        pairs = pairs & mask[:, None, None] & mask[:, None, :, None]
    for keep in allowed:
        pairs = pairs if keep is None else pairs & keep
    clean = [Relation(x.left.nan_to_num(), x.right.nan_to_num(), x.scale) for x in (student, teacher)]
    return *(x.scores() for x in clean), pairs


def _by_sequence(totals, counts):
    """totals, counts: (B, ...)"""
    totals, counts = totals.flatten(1).sum(1), counts.flatten(1).sum(1)
    some = counts > 0
    return (totals[some] / counts[some]).sum() / some.sum().clamp(min=1)


def materialised_kl(student, teacher, mask, *, allowed=()):
    scores_s, scores_t, pairs = _materialised(student, teacher, mask, allowed)
    some = pairs.any(-1, keepdim=True)
    # a row without a key gets all of them here, and is dropped below
    log_s, log_t = (x.masked_fill(~pairs & some, -torch.inf).log_softmax(-1) for x in (scores_s, scores_t))
    rows = torch.where(pairs, log_t.exp() * torch.where(pairs, log_t - log_s, 0), 0).sum(-1)
    return _by_sequence(rows, some)


def materialised_mse(student, teacher, mask, *, allowed=(), centered=False):
    scores_s, scores_t, pairs = _materialised(student, teacher, mask, allowed)
    if centered:
        count = pairs.sum(-1, keepdim=True).clamp(min=1)
        scores_s, scores_t = (x - torch.where(pairs, x, 0).sum(-1, keepdim=True) / count for x in (scores_s, scores_t))
    return _by_sequence(torch.where(pairs, (scores_s - scores_t).square(), 0), pairs)
