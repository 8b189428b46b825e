"""Read cached features of chosen rows, padded to a batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kdfeatures.cache.arrays import open_array
from kdfeatures.cache.quantities import DECODER_STATES, Quantity
from kdfeatures.distillation.attention_form import AttentionForm


@dataclass(frozen=True)
class Places:
    """Where one quantity of every row is: files, and by row the file's number and the first entry in it."""

    files: tuple[Path, ...]
    file: np.ndarray
    start: np.ndarray


class CachedFeatures:
    """The cached quantities of a dataset's examples, by row. Files are mapped on first use and read in part.

    lengths: the tokens of each row. forms: of the attention layers among the quantities.
    """

    def __init__(self, lengths: np.ndarray, places: Mapping[Quantity, Places], forms: Mapping[int, AttentionForm]):
        self.lengths, self.places, self.forms = lengths, dict(places), dict(forms)
        self._open: dict[Path, Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_open": {}}  # a data loader's worker maps the files itself

    def logits(self) -> np.ndarray:
        """Return the logits of all rows, float32 (examples or their tokens, C), in the teacher's own label order."""
        (quantity,) = (quantity for quantity in self.places if quantity.is_logits)
        return torch.cat([self._of_row(quantity, row) for row in range(len(self.lengths))]).numpy()

    def decoder_states(self) -> Iterator[Tensor]:
        """Yield the states before the teacher's decoder of each row, (tokens, D), in the cache's precision."""
        return (self._of_row(DECODER_STATES, row) for row in range(len(self.lengths)))

    def batch(self, rows: Sequence[int], mask: Tensor) -> dict[str, Any]:
        """Return what `restore` takes: for rows that stand in a batch with this mask, (B, L).

        {"logits": (B, C) or (B, L, C), or "decoder_states": (B, L, D), "hidden": {layer: (B, L, D)}, "attention":
        {layer: {"query": (B, L, H * d), ..., and the fields of its form}}}, with zeros at padded positions, which may
        be left or right.
        """
        firsts = mask.long().argmax(dim=1).tolist()
        features: dict[str, Any] = {"hidden": {}, "attention": {n: form._asdict() for n, form in self.forms.items()}}
        for quantity in self.places:
            if not quantity.per_token:
                features["logits"] = torch.cat([self._of_row(quantity, row) for row in rows])
            elif quantity.layer is None:
                kind = "logits" if quantity.is_logits else quantity.of
                features[kind] = self._padded(quantity, rows, firsts, mask.shape[1])
            elif quantity.of == "hidden":
                features["hidden"][quantity.layer] = self._padded(quantity, rows, firsts, mask.shape[1])
            else:
                features["attention"][quantity.layer][quantity.of] = self._padded(quantity, rows, firsts, mask.shape[1])
        return features

    def _padded(self, quantity: Quantity, rows: Sequence[int], firsts: Sequence[int], length: int) -> Tensor:
        ragged = [self._of_row(quantity, row) for row in rows]
        padded = ragged[0].new_zeros(len(rows), length, ragged[0].shape[1])
        for target, first, states in zip(padded, firsts, ragged, strict=True):
            target[first : first + len(states)] = states
        return padded

    def _of_row(self, quantity: Quantity, row: int) -> Tensor:
        places = self.places[quantity]
        path = places.files[places.file[row]]
        if path not in self._open:
            self._open[path] = open_array(path, verify=False)[0]  # verified when the rows were looked up
        start = places.start[row]
        return self._open[path][start : start + (self.lengths[row] if quantity.per_token else 1)]
