"""More text for the teacher to label: training examples with some words replaced, after TinyBERT."""

from kdfeatures.augmentation.copies import augmented
from kdfeatures.augmentation.settings import AugmentationConfig, augmentation_of, augmentation_settings
from kdfeatures.augmentation.substitutes import EmbeddingNeighbours, MaskedPredictions, Substitutes

__all__ = [
    "AugmentationConfig",
    "EmbeddingNeighbours",
    "MaskedPredictions",
    "Substitutes",
    "augmentation_of",
    "augmentation_settings",
    "augmented",
]
