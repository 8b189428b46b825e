"""From a batch of cached features back to what the objective takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from kdfeatures.cache.quantities import OPERANDS
from kdfeatures.distillation.attention_form import AttentionForm, allowed_pairs
from kdfeatures.distillation.objective import Outputs
from kdfeatures.features import AttentionStates, Features
from kdfeatures.tasks.label_order import reordered


def restore(cached: Mapping[str, Any], columns: Sequence[int] | None) -> Outputs:
    """Return a teacher's Outputs in float32 from what `CachedFeatures.batch` gave.

    columns: put the logits into the student's label order. Operands that no loss needs are not in the cache; they come
    back as NaN, so that a loss that read them after all would not pass unnoticed.
    """
    features = Features()
    for layer, states in cached["hidden"].items():
        features.hidden[layer] = states.float()
    for layer, entry in cached["attention"].items():
        features.attention[layer] = _attention(entry)
    logits = cached.get("logits")
    return Outputs(None if logits is None else reordered(logits, columns), features)


def _attention(entry: Mapping[str, Any]) -> AttentionStates:
    form = AttentionForm(**{name: entry[name] for name in AttentionForm._fields})
    kept = {of: _heads(entry[of].float(), form.heads) for of in OPERANDS if of in entry}
    some = next(iter(kept.values()))
    absent = some.new_full((), torch.nan).expand_as(some)
    allowed = allowed_pairs(form, some.shape[2], some.device)
    operands = [kept.get(of, absent) for of in OPERANDS]
    return AttentionStates(*operands, form.scale, allowed, positional=form.positional)


def _heads(states: Tensor, heads: int) -> Tensor:
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)  # (B, L, H * d) -> (B, H, L, d)
