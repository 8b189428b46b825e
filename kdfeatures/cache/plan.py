"""What is missing, cut into shards; what it will take on disk, and whether there is room."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kdfeatures.cache.quantities import Quantity, describe_quantities, in_order
from kdfeatures.cache.settings import CacheSettings
from kdfeatures.errors import UserError

logger = logging.getLogger(__name__)

GIB = 2**30


@dataclass(frozen=True)
class ShardPlan:
    """A shard to be written: rows of the examples, and the quantities they lack."""

    rows: np.ndarray
    quantities: tuple[Quantity, ...]


def plan_shards(missing: Mapping[Quantity, np.ndarray], shard_examples: int) -> list[ShardPlan]:
    """Cut the missing rows of each quantity, boolean (examples,), into shards of examples that lack the same."""
    quantities = in_order(missing)
    lacks = np.stack([missing[quantity] for quantity in quantities], axis=1)
    plans = []
    for pattern in np.unique(lacks, axis=0):
        if pattern.any():
            rows = np.flatnonzero((lacks == pattern).all(axis=1))
            pattern_quantities = tuple(
                quantity for quantity, lacking in zip(quantities, pattern, strict=True) if lacking
            )
            plans += [
                ShardPlan(rows[i : i + shard_examples], pattern_quantities) for i in range(0, len(rows), shard_examples)
            ]
    return sorted(plans, key=lambda plan: plan.rows[0])


def bytes_of(plans: Sequence[ShardPlan], lengths: np.ndarray, row_bytes: Mapping[Quantity, int]) -> int:
    """Return what the plans will write. row_bytes: of one token, or of one example for logits."""
    return sum(
        row_bytes[quantity] * (int(lengths[plan.rows].sum()) if quantity.per_token else len(plan.rows))
        for plan in plans
        for quantity in plan.quantities
    )


def check_room(
    root: Path,
    plans: Sequence[ShardPlan],
    lengths: np.ndarray,
    size: int,
    settings: CacheSettings,
    *,
    used: int | None,
    silent: bool,
) -> None:
    """Print what will be written; raise UserError when it exceeds the limit for the whole cache, or the free disk.

    root: the folder on this machine. used: bytes that the cache holds; None counts those in `root`.
    """
    rows = np.unique(np.concatenate([plan.rows for plan in plans]))
    description = describe_quantities(in_order(quantity for plan in plans for quantity in plan.quantities))
    text = f"{description} of {len(rows):,} examples ({int(lengths[rows].sum()):,} tokens) take {in_words(size)}"
    used = _size_of(root) if used is None else used
    free = shutil.disk_usage(root).free  # also of a cache behind a URL, whose shards are written here first
    shrink = "a dtype of 16 bits, fewer layers (mapping, recipe), data.train_examples or data.max_length"
    if used + size > settings.max_gib * GIB:
        raise UserError(
            f"{text}, and {settings.path} holds {in_words(used)}: more than cache.max_gib={settings.max_gib:g}. What "
            f"shrinks it: {shrink}; or raise cache.max_gib, or delete what is there."
        )
    if size > free:
        raise UserError(f"{text}, but only {in_words(free)} are free at cache.path={root}. What shrinks it: {shrink}.")
    if not silent:
        logger.info(f"Teacher cache {settings.path}: {text} ({in_words(used)} there, {in_words(free)} free).")


def _size_of(root: Path) -> int:
    size = 0
    for folder, _, files in os.walk(root):
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # another writer renames its folders meanwhile
                size += os.stat(os.path.join(folder, file)).st_size
    return size


def in_words(size: int) -> str:
    """Return bytes as a number people read: "12.3 MiB"."""
    for unit, name in ((GIB, "GiB"), (2**20, "MiB")):
        if size >= unit / 10:
            return f"{size / unit:.1f} {name}"
    return f"{size / 2**10:.1f} KiB"
