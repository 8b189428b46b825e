"""What alters training texts, with the models and vectors that its settings name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.cache.key import weights_hash
from kdfeatures.checksums import hash_of
from kdfeatures.data.augmentation import (
    AugmentationSettings,
    EmbeddingNeighbours,
    MaskedPredictions,
    Substitutes,
    augmented,
)
from kdfeatures.models.load import load_masked_model, move
from kdfeatures.models.tokenizers import load_tokenizer


def augmenter(
    settings: AugmentationSettings | None,
    teacher: PreTrainedModel | None,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    seed: int,
) -> Callable[..., Dataset] | None:
    """Return `copies.augmented` with all but the dataset and its text columns given; None for None.

    teacher: None, as stored outputs are, only where nothing is altered.
    """
    if settings is None:
        return None
    if settings.vectors is None:
        assert teacher is not None
        neighbours = EmbeddingNeighbours.of_model(teacher, tokenizer)
    else:
        neighbours = EmbeddingNeighbours.of_file(settings.vectors, "augmentation.vectors")
    substitutes: Substitutes = neighbours
    parts = [_vectors_hash(settings, neighbours)]
    if settings.mlm is not None:
        model = load_masked_model(settings.mlm, "augmentation.mlm")
        move(model)
        mlm_tokenizer = load_tokenizer(settings.mlm, "augmentation.mlm")
        substitutes = MaskedPredictions(model, mlm_tokenizer, neighbours, max_length=max_length)
        parts += [weights_hash(model), str(max_length)]
    return partial(
        augmented,
        substitutes=substitutes,
        copies=settings.copies,
        probability=settings.probability,
        candidates=settings.candidates,
        seed=seed,
        fingerprint=hash_of(*parts),
    )


def _vectors_hash(settings: AugmentationSettings, neighbours: EmbeddingNeighbours) -> str:
    if settings.vectors is not None:
        return hash_of(Path(settings.vectors).read_bytes())
    return hash_of(" ".join(neighbours.words), neighbours.vectors.numpy().tobytes())
