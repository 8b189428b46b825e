"""Slow oracles for the losses, written from the formulas and in other algebra than the code under test.

Every sequence is cut to its real tokens first and looped over, so no mask enters the arithmetic; softmaxes,
logs and norms are spelled out; squares and divergences are expanded. All of it is differentiable, in float64.

Shapes: hidden (B, L, D); queries, keys, values (B, H, L, d); mask (B, L) of booleans. KL means KL(teacher ||
student).
"""

import math

import torch


def logit_kd(student, teacher, temperature):
    """Hinton: T^2 * (cross-entropy - entropy of the teacher), from unnormalised exponentials."""
    cross = soft_cross_entropy(student, teacher, temperature)
    entropy = soft_cross_entropy(teacher, teacher, temperature)
    return temperature**2 * (cross - entropy)


def soft_cross_entropy(student, teacher, temperature):
    total = 0.0
    for z_s, z_t in zip(student, teacher, strict=True):
        weights = torch.exp(z_t / temperature)
        log_normaliser = torch.log(torch.exp(z_s / temperature).sum())
        total = total + log_normaliser - (weights @ z_s) / weights.sum() / temperature
    return total / len(student)


def logit_mse(student, teacher):
    return (student.pow(2).sum() + teacher.pow(2).sum() - 2 * (student * teacher).sum()) / student.numel()


def cross_entropy(student, classes):
    """Over all examples; a class of -100 adds nothing."""
    terms = [
        -torch.log(torch.exp(z)[c] / torch.exp(z).sum()) for z, c in zip(student, classes, strict=True) if c != -100
    ]
    return sum(terms) / len(student)


def regression(student, targets):
    """Over all examples; a target that is no number adds nothing."""
    terms = [(z[0] - y) ** 2 for z, y in zip(student, targets.tolist(), strict=True) if not math.isnan(y)]
    return sum(terms) / len(student)


def _per_sequence(loss, mask):
    """Mean of `loss(b)` over the sequences b with a real token."""
    terms = [loss(b) for b in range(len(mask)) if mask[b].any()]
    return sum(terms) / len(terms)


def hidden_mse(student, teacher, mask):
    def one(b):
        s, t = student[b][mask[b]], teacher[b][mask[b]]
        return ((s * s).sum() + (t * t).sum() - 2 * (s * t).sum()) / s.numel()

    return _per_sequence(one, mask)


def hidden_cosine(student, teacher, mask):
    def one(b):
        tokens = list(zip(student[b][mask[b]], teacher[b][mask[b]], strict=True))
        return sum(1 - _cosine(s, t) for s, t in tokens) / len(tokens)

    return _per_sequence(one, mask)


def normalized_cls_mse(student, teacher, mask):
    """Two unit vectors differ by |u - v|^2 = 2 - 2 cos."""
    width = student.shape[-1]
    return _per_sequence(lambda b: (2 - 2 * _cosine(student[b, 0], teacher[b, 0])) / width, mask[:, :1])


def _cosine(s, t):
    return (s @ t) / torch.sqrt((s @ s) * (t @ t))


def _kl_rows(scores_s, scores_t):
    """Mean over the rows of KL, for the scores (n, n) of one head, as sum p log(p / q)."""
    p, q = torch.exp(scores_t), torch.exp(scores_s)
    p, q = p / p.sum(1, keepdim=True), q / q.sum(1, keepdim=True)
    return (p * torch.log(p / q)).sum() / len(p)


def attention_score_mse(query_s, key_s, scale_s, query_t, key_t, scale_t, mask):
    def one(b):
        keep, heads = mask[b], range(query_s.shape[1])
        differences = [
            scale_s * query_s[b, h][keep] @ key_s[b, h][keep].T - scale_t * query_t[b, h][keep] @ key_t[b, h][keep].T
            for h in heads
        ]
        return sum(torch.trace(x @ x.T) / x.numel() for x in differences) / len(heads)

    return _per_sequence(one, mask)


def attention_kl(query_s, key_s, scale_s, query_t, key_t, scale_t, mask):
    def one(b):
        keep, heads = mask[b], range(query_s.shape[1])
        return sum(
            _kl_rows(
                scale_s * query_s[b, h][keep] @ key_s[b, h][keep].T,
                scale_t * query_t[b, h][keep] @ key_t[b, h][keep].T,
            )
            for h in heads
        ) / len(heads)

    return _per_sequence(one, mask)


def relation_kl(states_s, states_t, heads, mask):
    """MiniLMv2 for one operand: columns of the concatenated heads, cut into `heads` equal slices."""

    def one(b):
        s, t = (torch.cat(list(states[b]), dim=1)[mask[b]] for states in (states_s, states_t))  # (n, H * d)
        total = 0.0
        for x, y in zip(s.chunk(heads, dim=1), t.chunk(heads, dim=1), strict=True):
            total = total + _kl_rows(x @ x.T / math.sqrt(x.shape[1]), y @ y.T / math.sqrt(y.shape[1]))
        return total / heads

    return _per_sequence(one, mask)
