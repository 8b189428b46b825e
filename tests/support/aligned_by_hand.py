"""Groups of tokens found character by character, and losses on them by loops: what the package is held against."""

from __future__ import annotations

import torch


def groups_by_character(text, encodings):
    """Return the groups of both sides' tokens, lists of token indices: parts of the text that both can tell apart.

    encodings: of one text each, with offset_mapping. Special tokens in front and behind are groups of their own.
    """
    spans, special = [], []
    for encoding in encodings:
        of_side = {}
        for index, (sequence, (start, end)) in enumerate(
            zip(encoding.sequence_ids(0), encoding["offset_mapping"], strict=True)
        ):
            if sequence is not None:
                of_side[index] = {n for n in range(start, end) if not text[n].isspace()}
        after: set[int] = set()
        for index in sorted(of_side, reverse=True):  # a blank that is a token by itself goes with what follows it
            of_side[index] = after = of_side[index] or after
        spans.append(of_side)
        count = len(encoding["input_ids"])
        special.append(([n for n in range(min(of_side))], [n for n in range(max(of_side) + 1, count)]))
    # characters that some token of either side covers together belong together, and so on
    parts = [{n} for n in range(len(text)) if not text[n].isspace()]
    for covered in (covered for of_side in spans for covered in of_side.values()):
        touched = [part for part in parts if part & covered]
        if touched:
            parts = [part for part in parts if not part & covered] + [set().union(*touched)]
    parts.sort(key=min)
    groups = [tuple(side[0] for side in special)]
    groups += [
        tuple([index for index, covered in of_side.items() if covered and covered <= part] for of_side in spans)
        for part in parts
    ]
    return [*groups, tuple(side[1] for side in special)]


def mean_state(states, tokens):
    """Return the mean of (L, D) over some tokens."""
    return torch.stack([states[n] for n in tokens]).mean(0)


def hidden_mse(student, teacher, groups, projection):
    """Return the mean over groups and width of the squared difference. states: (L, D) of one text."""
    own = torch.stack([projection(mean_state(student, tokens)) for tokens, _ in groups])
    its = torch.stack([mean_state(teacher, tokens) for _, tokens in groups])
    return (own - its).square().mean()


def kl_of(student, teacher):
    """Return the mean over rows, and heads, of KL(teacher || student) of probabilities (H, G, G)."""
    return (teacher * (teacher.log() - student.log())).sum(-1).mean()


def grouped_probabilities(probs, groups, side):
    """Return (H, G, G) from the probabilities (H, L, L) of one text."""
    rows = [torch.stack([probs[:, n] for n in pair[side]]).mean(0) for pair in groups]
    return torch.stack([torch.stack([row[:, pair[side]].sum(-1) for pair in groups], -1) for row in rows], 1)


def relations(operand, groups, side, heads):
    """Return softmax(x x' / sqrt(d)), (R, G, G), of an operand (H, L, d) of one text, split anew into R heads."""
    flat = operand.transpose(0, 1).flatten(1)
    means = torch.stack([mean_state(flat, pair[side]) for pair in groups])
    split = means.unflatten(1, (heads, -1)).transpose(0, 1)
    return (split @ split.mT / split.shape[-1] ** 0.5).softmax(-1)
