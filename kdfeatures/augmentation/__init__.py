"""More text for the teacher to label: training examples with some words replaced, after TinyBERT."""

from kdfeatures.augmentation.copies import augmented
from kdfeatures.augmentation.substitutes import EmbeddingNeighbours, MaskedPredictions, Substitutes

__all__ = ["EmbeddingNeighbours", "MaskedPredictions", "Substitutes", "augmented"]
