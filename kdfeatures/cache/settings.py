"""Where a cache is and what it may take."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated

from kdfeatures.errors import ConfigError, nearest
from kdfeatures.ranges import Count, Positive

FEATURE_DTYPES = ("float16", "bfloat16", "float32")


@dataclass(frozen=True)
class CacheSettings:
    """Settings of a FeatureCache.

    Args:
        path: the folder, or a URL that fsspec knows, such as s3://bucket/features.
        dtype: of the features; logits are float32.
        max_gib: limit for all that the folder holds, in GiB.
        shard_examples: how many are finished, and safe from a kill, at a time.
        batch_size: of the teacher's pass.

    Raises:
        ConfigError: for an unknown dtype and numbers that are not positive.
    """

    path: str = "~/.cache/kdfeatures"
    dtype: str = "float16"
    max_gib: Annotated[float, Positive] = 20.0
    shard_examples: Annotated[int, Count] = 1024
    batch_size: Annotated[int, Count] = 32

    def __post_init__(self) -> None:
        if self.dtype not in FEATURE_DTYPES:
            raise ConfigError(
                f"is unknown{nearest(self.dtype, FEATURE_DTYPES)}",
                argument="dtype",
                value=self.dtype,
                hint=f"choose from {', '.join(FEATURE_DTYPES)}",
            )
        if not 0 < self.max_gib < math.inf:
            raise ConfigError("must be a positive, finite number", argument="max_gib", value=self.max_gib)
        for name in ("shard_examples", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError("must be at least 1", argument=name, value=getattr(self, name))
