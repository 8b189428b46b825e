"""What must be known of a layer's attention, besides q, k and v, to put its AttentionStates together again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from kdfeatures.errors import ConfigError
from kdfeatures.features import AttentionStates


class AttentionForm(NamedTuple):
    """heads, scale: as in AttentionStates. positional: also where there was a bias, which is not kept.

    window: real tokens attend at most so far; None without limit.
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

    Raises ConfigError when real tokens may attend neither to all real tokens nor to all within a distance.
    """
    form = AttentionForm(states.query.shape[1], float(states.scale), states.positional or states.bias is not None, None)
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
        raise ConfigError(
            f"the teacher's layer {layer} attends to a pattern that is neither all tokens nor a window around each, "
            "which the cache cannot rebuild",
            hint="do without a cache, or map another layer",
            key="cache.pattern",
            layer=layer,
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
