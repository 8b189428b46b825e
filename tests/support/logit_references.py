"""Slow oracles for the divergences of class distributions, from probabilities; see references.py.

student, teacher: (B, C) logits.
"""

import torch


def _probabilities(logits, temperature):
    weights = torch.exp(logits / temperature)
    return weights / weights.sum(-1, keepdim=True)


def _entropy(p):
    return -(p * torch.log(p)).sum(-1)


def _cross(p, q):
    return -(p * torch.log(q)).sum(-1)


def reverse_kl(student, teacher, temperature):
    p, q = _probabilities(student, temperature), _probabilities(teacher, temperature)
    return temperature**2 * (_cross(p, q) - _entropy(p)).sum() / len(p)


def jensen_shannon(student, teacher, temperature, beta):
    """The entropy of the mixture less the mixture of the entropies."""
    p, q = _probabilities(student, temperature), _probabilities(teacher, temperature)
    mixture = beta * q + (1 - beta) * p
    rows = _entropy(mixture) - beta * _entropy(q) - (1 - beta) * _entropy(p)
    return temperature**2 * rows.sum() / len(p)


def skew_kl(student, teacher, temperature, skew):
    p, q = _probabilities(student, temperature), _probabilities(teacher, temperature)
    return temperature**2 * (_cross(q, skew * q + (1 - skew) * p) - _entropy(q)).sum() / len(p)


def skew_reverse_kl(student, teacher, temperature, skew):
    p, q = _probabilities(student, temperature), _probabilities(teacher, temperature)
    return temperature**2 * (_cross(p, skew * p + (1 - skew) * q) - _entropy(p)).sum() / len(p)


def decoupled_kd(student, teacher, classes, temperature, target_weight, other_weight):
    """DKD eq. 7, example by example; a class of -100 adds nothing."""
    total = 0.0
    for z_s, z_t, c in zip(student, teacher, classes, strict=True):
        if c == -100:
            continue
        p, q = _probabilities(z_s, temperature), _probabilities(z_t, temperature)
        binary = q[c] * torch.log(q[c] / p[c]) + (1 - q[c]) * torch.log((1 - q[c]) / (1 - p[c]))
        rest = [i for i in range(len(p)) if i != c]
        p, q = p[rest] / p[rest].sum(), q[rest] / q[rest].sum()
        total = total + target_weight * binary + other_weight * (q * torch.log(q / p)).sum()
    return temperature**2 * total / len(student)


def binary_kd(student, teacher, temperature):
    """Each label as two classes with the logits z and 0: KL of their softmax, averaged over labels and examples."""
    total = 0.0
    for z_s, z_t in zip(student.flatten(), teacher.flatten(), strict=True):
        p, q = (_probabilities(torch.stack([z, torch.zeros_like(z)]), temperature) for z in (z_s, z_t))
        total = total + _cross(q, p) - _entropy(q)
    return temperature**2 * total / student.numel()


def embedding_cosine(student, teacher):
    """1 - cos = |u - v|^2 / 2 of unit vectors u, v."""
    rows = [
        ((s / torch.sqrt((s * s).sum()) - t / torch.sqrt((t * t).sum())) ** 2).sum() / 2
        for s, t in zip(student, teacher, strict=True)
    ]
    return sum(rows) / len(rows)


def dist(student, teacher, temperature, inter, intra):
    """Correlations by scipy's definition: covariance over the product of standard deviations."""
    p, q = _probabilities(student, temperature), _probabilities(teacher, temperature)
    columns = sum(1 - _pearson(a, b) for a, b in zip(p.T, q.T, strict=True)) / p.shape[1]
    rows = sum(1 - _pearson(a, b) for a, b in zip(p, q, strict=True)) / len(p) if p.shape[1] > 2 else 0
    return temperature**2 * (inter * rows + intra * columns)


def dist_of_scores(student, teacher, intra):
    return intra * (1 - _pearson(student[:, 0], teacher[:, 0]))


def _pearson(a, b):
    covariance = (a * b).mean() - a.mean() * b.mean()
    return covariance / ((a * a).mean() - a.mean() ** 2).sqrt() / ((b * b).mean() - b.mean() ** 2).sqrt()
