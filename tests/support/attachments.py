"""Counts what a capture attaches to a model."""

from __future__ import annotations

from torch import nn

from kdfeatures.capture.dispatch import IMPLEMENTATION


def attached(model: nn.Module) -> int:
    """Count everything a capture could have left on a model: hooks, taps and changed configs."""
    count = 0
    for module in model.modules():
        count += len(module._forward_hooks) + len(module._forward_pre_hooks) + ("_kdfeatures_taps" in module.__dict__)
        config = getattr(module, "config", None)
        count += config is not None and config._attn_implementation == IMPLEMENTATION
    return count
