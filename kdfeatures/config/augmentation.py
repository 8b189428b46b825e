"""What conf/augmentation says, and the substitutes it asks for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from datasets import Dataset
from omegaconf import DictConfig
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.cache.key import hash_of, weights_hash
from kdfeatures.config.schema import section
from kdfeatures.data.augmentation.copies import augmented
from kdfeatures.data.augmentation.substitutes import EmbeddingNeighbours, MaskedPredictions
from kdfeatures.errors import UserError
from kdfeatures.models.load import load_masked_model, load_tokenizer


@dataclass
class AugmentationConfig:
    """copies of each example, at most; probability for each word to be replaced by one of its `candidates`.

    mlm: folder or Hub id of a masked language model, None for neighbours only. vectors: a file of word vectors, None
    for the teacher's embeddings.
    """

    copies: int
    probability: float
    candidates: int
    mlm: str | None
    vectors: str | None


def augmentation_settings(cfg: DictConfig) -> AugmentationConfig | None:
    """Return the settings of a composed run config, None with augmentation=off; raises UserError for bad ones.

    Texts are altered; lists of words, and text without a task, are not.
    """
    if "mlm" not in cfg.augmentation:
        if cfg.augmentation.copies != 0:
            raise UserError(f"augmentation.copies={cfg.augmentation.copies} needs augmentation=tinybert.")
        return None
    if cfg.task.kind != "sequence":
        raise UserError(
            f"augmentation alters the texts of tasks of kind sequence, but task '{cfg.task.name}' is of kind "
            f"{cfg.task.kind}; use augmentation=off."
        )
    settings = section(cfg, "augmentation", AugmentationConfig)
    for name, is_right, wanted in (
        ("copies", settings.copies >= 1, "a whole number from 1; augmentation=off makes none"),
        ("candidates", settings.candidates >= 1, "a whole number from 1"),
        ("probability", 0 < settings.probability <= 1, "above 0 and at most 1"),
    ):
        if not is_right:
            raise UserError(f"augmentation.{name}={getattr(settings, name)} must be {wanted}.")
    return settings


def augmentation_of(
    settings: AugmentationConfig | None,
    teacher: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    seed: int,
) -> Callable[..., Dataset] | None:
    """Return `copies.augmented` with all but the dataset and its text columns given; None for None."""
    if settings is None:
        return None
    if settings.vectors is None:
        neighbours = EmbeddingNeighbours.of_model(teacher, tokenizer)
    else:
        neighbours = EmbeddingNeighbours.of_file(settings.vectors, "augmentation.vectors")
    substitutes, parts = neighbours, [_vectors_hash(settings, neighbours)]
    if settings.mlm is not None:
        model = load_masked_model(settings.mlm, "augmentation.mlm")
        model.to("cuda" if torch.cuda.is_available() else "cpu")
        own = load_tokenizer(settings.mlm, "augmentation.mlm")
        substitutes = MaskedPredictions(model, own, neighbours, max_length=max_length)
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


def _vectors_hash(settings: AugmentationConfig, neighbours: EmbeddingNeighbours) -> str:
    if settings.vectors is not None:
        return hash_of(Path(settings.vectors).read_bytes())
    return hash_of(" ".join(neighbours.words), neighbours.vectors.numpy().tobytes())
