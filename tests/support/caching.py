"""Small caches, and batches of cached features, for tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from transformers import DataCollatorWithPadding

from kdfeatures.cache import CachedCollator, CacheSettings, FeatureCache, needed, with_rows
from kdfeatures.data.synthetic import tokenizer

SETTINGS = CacheSettings(path="", dtype="float32", max_gib=1.0, shard_examples=10, batch_size=4)


def small_cache(folder: Path, teacher, **settings) -> FeatureCache:
    """Return a float32 cache of small shards below `folder`."""
    return FeatureCache(replace(SETTINGS, path=str(folder), **settings), teacher, tokenizer())


def collators(cache, distiller, examples):
    """Fill the cache for a distiller; return its examples with rows, a plain collator and one with teacher features."""
    plain = DataCollatorWithPadding(tokenizer())
    cached = CachedCollator(plain, cache.features(examples, needed(distiller.objective)))
    return with_rows(examples), plain, cached


def shards(cache) -> list[Path]:
    """The finished shards, as a reader would list them."""
    return sorted(path for path in cache.folder.iterdir() if path.is_dir() and not path.name.startswith("."))
