"""Where the cache is and what it may take: conf/cache/auto.yaml."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omegaconf import DictConfig

from kdfeatures.config.schema import DataConfig, section
from kdfeatures.errors import UserError, nearest
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task

FEATURE_DTYPES = ("float16", "bfloat16", "float32")


@dataclass
class CacheConfig:
    """path: folder. dtype: of the features; logits are float32. max_gib: limit for all that the folder holds.

    shard_examples: how many are finished, and safe from a kill, at a time. batch_size: of the teacher's pass.
    """

    path: str
    dtype: str
    max_gib: float
    shard_examples: int
    batch_size: int


@dataclass
class MoreLayers:
    """Teacher layers to keep besides those that the recipe takes: their hidden states; their q, k and v."""

    hidden: list[int]
    attention: list[int]


def cache_settings(cfg: DictConfig) -> CacheConfig | None:
    """Return the settings of a composed run config, None with cache=off; raises UserError for what cannot be used."""
    if cfg.cache.path is None:
        return None
    if "dtype" not in cfg.cache:
        raise UserError(f"cache.path={cfg.cache.path} has no effect with cache=off; say cache=auto as well.")
    return _checked(section(cfg, "cache", CacheConfig))


def check_cacheable(task: Task, data: DataConfig) -> None:
    """Raise UserError unless a teacher's features for an example hold for every batch that has it."""
    if not task_type(task).repeats:
        raise UserError(
            "cache=auto keeps features by their inputs, but masks differ from batch to batch; use cache=off, or terms "
            "that read no outputs."
        )
    if data.streaming:
        raise UserError("cache=auto looks up all examples before training, which a stream cannot; use cache=off.")


def _checked(settings: CacheConfig) -> CacheConfig:
    if settings.dtype not in FEATURE_DTYPES:
        raise UserError(
            f"cache.dtype={settings.dtype} is unknown{nearest(settings.dtype, FEATURE_DTYPES)}; choose from "
            f"{', '.join(FEATURE_DTYPES)}."
        )
    if not 0 < settings.max_gib < math.inf:
        raise UserError(f"cache.max_gib={settings.max_gib} must be a positive, finite number.")
    for name in ("shard_examples", "batch_size"):
        if getattr(settings, name) < 1:
            raise UserError(f"cache.{name}={getattr(settings, name)} must be at least 1.")
    return settings
