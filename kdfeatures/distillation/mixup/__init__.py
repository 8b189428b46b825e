"""Texts of a batch mixed two and two, and a student that is held to what it makes of each of them alone."""

from kdfeatures.distillation.mixup.settings import Mixup

__all__ = ["Mixup"]
