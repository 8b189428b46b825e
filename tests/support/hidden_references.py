"""Slow oracles for the losses on hidden states that are more than a distance of tokens; see references.py.

student: (B, L, D_s). teacher: (B, L, D_t). mask: (B, L) of booleans.
"""

import torch
from support.references import _cosine, _per_sequence


def layer_norm_mse(student, teacher, mask):
    """Standardised vectors differ by 2 - 2 r on average, r their correlation."""

    def one(b):
        tokens = list(zip(student[b][mask[b]], teacher[b][mask[b]], strict=True))
        return sum(2 - 2 * _cosine(s - s.mean(), t - t.mean()) for s, t in tokens) / len(tokens)

    return _per_sequence(one, mask)


def energy_map(student, teacher, mask):
    def one(b):
        energy_s, energy_t = (torch.diagonal(x[b][mask[b]] @ x[b][mask[b]].T) for x in (student, teacher))
        return 2 - 2 * _cosine(energy_s, energy_t)

    return _per_sequence(one, mask)


def token_gram_mse(student, teacher, mask):
    """Entry by entry."""

    def one(b):
        s, t = student[b][mask[b]], teacher[b][mask[b]]
        pairs = [(i, j) for i in range(len(s)) for j in range(len(s))]
        return sum(((s[i] * s[j]).mean() - (t[i] * t[j]).mean()) ** 2 for i, j in pairs) / len(pairs)

    return _per_sequence(one, mask)


def feature_gram_mse(student, teacher, mask):
    def one(b):
        s, t = student[b][mask[b]], teacher[b][mask[b]]
        width = range(s.shape[1])
        entries = [((s[:, i] * s[:, j]).mean() - (t[:, i] * t[:, j]).mean()) ** 2 for i in width for j in width]
        return sum(entries) / len(entries)

    return _per_sequence(one, mask)


def flow_mse(student, teacher, mask):
    """Entry by entry; student and teacher are pairs."""

    def one(b):
        (s1, s2), (t1, t2) = ([x[b][mask[b]] for x in states] for states in (student, teacher))
        width = range(s1.shape[1])
        entries = [((s1[:, i] * s2[:, j]).mean() - (t1[:, i] * t2[:, j]).mean()) ** 2 for i in width for j in width]
        return sum(entries) / len(entries)

    return _per_sequence(one, mask)


def _smooth_l1(x):
    return 0.5 * x**2 if abs(x) < 1 else abs(x) - 0.5


def _vectors(states, mask, pool):
    if pool == "cls":
        return [states[b, 0] for b in range(len(mask)) if mask[b, 0]]
    return [states[b][mask[b]].mean(0) for b in range(len(mask)) if mask[b].any()]


def rkd_distance(student, teacher, mask, pool):
    def relative(states):
        x = _vectors(states, mask, pool)
        found = [torch.sqrt(((x[i] - x[j]) ** 2).sum()) for i in range(len(x)) for j in range(i)]
        return [d / (sum(found) / len(found)) for d in found]

    terms = [_smooth_l1(s - t) for s, t in zip(relative(student), relative(teacher), strict=True)]
    return sum(terms) / len(terms)


def rkd_angle(student, teacher, mask, pool):
    """Angles by the law of cosines, from squared lengths of the three sides."""

    def cosines(states):
        x = _vectors(states, mask, pool)

        def side(i, j):
            return ((x[i] - x[j]) ** 2).sum()

        triples = [(i, j, k) for i in range(len(x)) for j in range(len(x)) for k in range(i) if j not in (i, k)]
        sides = [(side(i, j), side(j, k), side(i, k)) for i, j, k in triples]
        return [(a + b - c) / (2 * torch.sqrt(a * b)) for a, b, c in sides]

    terms = [_smooth_l1(s - t) for s, t in zip(cosines(student), cosines(teacher), strict=True)]
    return sum(terms) / len(terms)


def linear_cka(student, teacher, mask):
    """1 - cos of the two centred kernels, H K H with H = 1 - 11'/n."""
    s, t = student[mask], teacher[mask]
    centring = torch.eye(len(s), dtype=s.dtype) - 1 / len(s)
    kernels = [(centring @ (x @ x.T) @ centring).flatten() for x in (s, t)]
    return 1 - _cosine(*kernels)


def similarity(student, teacher, mask, pool):
    """Cosines by the law of cosines, pair by pair."""

    def cosines(states):
        x = _vectors(states, mask, pool)
        squares = [(vector * vector).sum() for vector in x]
        return [
            (squares[i] + squares[j] - ((x[i] - x[j]) ** 2).sum()) / (2 * torch.sqrt(squares[i] * squares[j]))
            for i in range(len(x))
            for j in range(i)
        ]

    terms = [(s - t) ** 2 for s, t in zip(cosines(student), cosines(teacher), strict=True)]
    return sum(terms) / len(terms)


def procrustes(student, teacher, mask):
    """The rotation itself, by the polar factor of the smaller side, and the distance that it leaves."""
    s, t = ([x[b][mask[b]] for b in range(len(x))] for x in (student, teacher))
    s, t = (torch.cat(x) - torch.cat(x).mean(0) for x in (s, t))
    s, t = (x / (x * x).sum().sqrt() for x in (s, t))
    widest = max(s.shape[1], t.shape[1])
    s, t = (torch.cat([x, x.new_zeros(len(x), widest - x.shape[1])], 1) for x in (s, t))  # widths alike
    u, _, v = torch.linalg.svd(s.detach().T @ t.detach())
    return ((s @ (u @ v) - t) ** 2).sum()


def token_similarity_kl(student, teacher, mask):
    """Pair by pair, from ratios of probabilities."""

    def shares(x, i):
        weights = {j: _cosine(x[i], x[j]).exp() for j in range(len(x)) if j != i}
        return {j: weight / sum(weights.values()) for j, weight in weights.items()}

    def one(b):
        s, t = student[b][mask[b]], teacher[b][mask[b]]
        if len(s) < 2:
            return 0 * s.sum()
        rows = [(shares(s, i), shares(t, i)) for i in range(len(s))]
        return sum(q[j] * (q[j] / p[j]).log() for p, q in rows for j in p) / len(rows)

    return _per_sequence(one, mask)


def token_angle(student, teacher, mask, window):
    """Triple by triple, by positions in the padded text."""
    reach = window // 2

    def one(b):
        at = [i for i in range(len(mask[b])) if mask[b][i]]
        errors = []
        for j in at:
            near = [i for i in at if i != j and abs(i - j) <= reach]
            for i, k in ((i, k) for i in near for k in near if i != k):
                of_s, of_t = (_cosine(x[b][i] - x[b][j], x[b][k] - x[b][j]) for x in (student, teacher))
                gap = (of_s - of_t).abs()
                errors.append(gap**2 / 2 if gap < 1 else gap - 0.5)
        return sum(errors) / len(errors) if errors else 0 * student[b][mask[b]].sum()

    return _per_sequence(one, mask)


def flow_cosine(student, teacher, mask):
    def one(b):
        turns = [
            [_cosine(x, y) for x, y in zip(*(of[b][mask[b]] for of in side), strict=True)]
            for side in (student, teacher)
        ]
        return sum((s - t) ** 2 for s, t in zip(*turns, strict=True)) / len(turns[0])

    return _per_sequence(one, mask)
