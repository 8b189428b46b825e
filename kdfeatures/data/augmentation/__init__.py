"""More text for the teacher to label: training examples with some words replaced, after TinyBERT."""

from kdfeatures.data.augmentation.copies import augmented
from kdfeatures.data.augmentation.settings import AugmentationSettings
from kdfeatures.data.augmentation.substitutes import EmbeddingNeighbours, MaskedPredictions, Substitutes

__all__ = [
    "AugmentationSettings",
    "EmbeddingNeighbours",
    "MaskedPredictions",
    "Substitutes",
    "augmented",
]
