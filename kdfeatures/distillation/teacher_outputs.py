"""A teacher's features from a cache: what must be known of an attention layer besides q, k, v, and the way back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from kdfeatures.cache.quantities import OPERANDS
from kdfeatures.distillation.objective import Outputs
from kdfeatures.errors import UserError
from kdfeatures.features import AttentionStates, Features
from kdfeatures.tasks.label_order import reordered


class AttentionForm(NamedTuple):
    """heads, scale, positional: as in AttentionStates. window: real tokens attend at most so far; None without limit.

    Probabilities that a model computed itself (`used`) are not kept: no loss reads them.
    """

    heads: int
    scale: float
    positional: bool
    window: int | None

    def as_text(self) -> dict[str, str]:
        """Return it as a file's header holds it."""
        return {
            "heads": str(self.heads),
            "scale": repr(self.scale),
            "positional": str(self.positional),
            "window": "" if self.window is None else str(self.window),
        }

    @classmethod
    def from_text(cls, text: Mapping[str, str]) -> AttentionForm:
        """The inverse of `as_text`; other entries are ignored."""
        window = int(text["window"]) if text["window"] else None
        return cls(int(text["heads"]), float(text["scale"]), text["positional"] == "True", window)


def form_of(states: AttentionStates, mask: Tensor, layer: int) -> AttentionForm:
    """Read the form off captured states. mask: (B, L), 1 for real tokens.

    Raises UserError when real tokens may attend neither to all real tokens nor to all within a distance.
    """
    form = AttentionForm(states.query.shape[1], float(states.scale), bool(states.positional), None)
    keep = states.keep_mask()
    if keep is None:
        return form
    real = mask.bool()
    pairs = (real[:, :, None] & real[:, None, :])[:, None]  # (B, 1, L, L)
    keep = keep.expand(len(mask), -1, *pairs.shape[2:]) & pairs
    if torch.equal(keep, pairs.expand_as(keep)):
        return form
    within = _distance(mask.shape[1], mask.device)
    window = int(torch.where(keep, within, 0).max())
    if not torch.equal(keep, (pairs & (within <= window)).expand_as(keep)):
        raise UserError(
            f"the teacher's layer {layer} attends to a pattern that is neither all tokens nor a window around each, "
            "which the cache cannot rebuild; use cache=off, or map another layer."
        )
    return form._replace(window=window)


def widest(forms: list[AttentionForm]) -> AttentionForm:
    """The form that holds for all shards of a layer: a shard of short examples has not met the window."""
    windows = [form.window for form in forms if form.window is not None]
    return forms[0]._replace(window=max(windows, default=None))


def allowed_pairs(form: AttentionForm, length: int, device: torch.device) -> Tensor | None:
    """Return AttentionStates.allowed, (1, 1, L, L) or None; padding is left to the mask that every loss is given."""
    return None if form.window is None else (_distance(length, device) <= form.window)[None, None]


def _distance(length: int, device: torch.device) -> Tensor:
    positions = torch.arange(length, device=device)
    return (positions[:, None] - positions).abs()  # (L, L)


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
