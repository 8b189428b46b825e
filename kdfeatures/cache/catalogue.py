"""Which examples and quantities the finished shards of a folder hold, and whether their files are sound."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from kdfeatures.cache.arrays import BrokenFile, open_array
from kdfeatures.cache.quantities import Quantity
from kdfeatures.cache.reader import Places
from kdfeatures.cache.shards import Shard, read_shard, remove_if_broken, shards_in
from kdfeatures.distillation.attention_form import AttentionForm, widest
from kdfeatures.features import OPERANDS

logger = logging.getLogger(__name__)


class Catalogue:
    """Finds examples by their digests. Every file is verified once, before it is first used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._shards: dict[str, Shard] = {}
        self._verified: dict[Path, dict[str, str]] = {}  # metadata of the files found sound

    def look_up(self, digests: np.ndarray, quantities: Sequence[Quantity]) -> dict[Quantity, Places]:
        """Return where each example's quantities are; file number -1 where missing. Names and removes broken shards."""
        while True:
            self._list()
            positions: dict[tuple[str, ...], np.ndarray] = {}
            places = {quantity: self._places(digests, quantity, positions) for quantity in quantities}
            if all(self._sound(path) for path in _used(places)):
                return places

    def forms(self, found: Mapping[Quantity, Places]) -> dict[int, AttentionForm]:
        """Return the forms of the attention layers among the quantities found."""
        by_layer: dict[int, list[AttentionForm]] = {}
        for quantity, places in found.items():
            if quantity.of in OPERANDS:
                by_layer.setdefault(quantity.layer_number, []).extend(
                    AttentionForm.from_text(self._verified[path]) for path in _used({quantity: places})
                )
        return {layer: widest(forms) for layer, forms in by_layer.items()}

    def _list(self) -> None:
        previous, self._shards = self._shards, {}
        for path in shards_in(self.folder):
            try:
                self._shards[path.name] = previous.get(path.name) or read_shard(path)
            except BrokenFile:
                self._remove(path, [])

    def _places(self, digests: np.ndarray, quantity: Quantity, positions: dict[tuple[str, ...], np.ndarray]) -> Places:
        shards = [shard for shard in self._shards.values() if quantity.name in shard.names]
        if not shards:
            return Places((), np.full(len(digests), -1), np.zeros(len(digests), dtype=np.int64))
        names = tuple(shard.path.name for shard in shards)
        if names not in positions:  # most quantities lie in the same shards
            positions[names] = _search(np.concatenate([shard.digests for shard in shards]), digests)
        position = positions[names]
        numbers = np.repeat(np.arange(len(shards)), [len(shard.digests) for shard in shards])
        firsts = [shard.starts if quantity.per_token else np.arange(len(shard.digests)) for shard in shards]
        files = tuple(shard.path / quantity.name for shard in shards)
        return Places(files, np.where(position < 0, -1, numbers[position]), np.concatenate(firsts)[position])

    def _sound(self, path: Path) -> bool:
        if path not in self._verified:
            try:
                self._verified[path] = open_array(path, verify=True)[1]
            except BrokenFile:
                self._remove(path.parent, [path.name])
                return False
        return True

    def _remove(self, path: Path, files: Sequence[str]) -> None:
        why = remove_if_broken(self.folder, path.name, files)
        self._shards.pop(path.name, None)
        if why is not None:
            logger.info(
                f"Teacher cache: {why}; removed the shard {path}, whose features are computed anew when needed."
            )


def _used(by_quantity: Mapping[Quantity, Places]) -> list[Path]:
    return [places.files[i] for places in by_quantity.values() for i in np.unique(places.file[places.file >= 0])]


def _search(stored: np.ndarray, digests: np.ndarray) -> np.ndarray:
    """Return the position of each digest among those stored, -1 where it is not."""
    order = np.argsort(stored, kind="stable")
    candidates = order[np.minimum(np.searchsorted(stored, digests, sorter=order), len(order) - 1)]
    return np.where(stored[candidates] == digests, candidates, -1)
