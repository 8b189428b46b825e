"""The cache of one teacher: give it examples, get their features, computed now or before."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from kdfeatures.cache.catalogue import Catalogue
from kdfeatures.cache.key import digests_of, folder_name, identity, input_columns
from kdfeatures.cache.plan import plan_shards
from kdfeatures.cache.quantities import Quantity, in_order
from kdfeatures.cache.reader import CachedFeatures
from kdfeatures.cache.remote import RemoteShards
from kdfeatures.cache.settings import CacheSettings
from kdfeatures.cache.writer import Filler
from kdfeatures.data.files.remote import copies_at, is_remote
from kdfeatures.errors import UserError
from kdfeatures.files import write_whole


class FeatureCache:
    """Features of one teacher on disk; any number of processes may fill and read it at once.

    An example is found by its inputs, so order, subsets and shuffling do not matter, nor does the student. Give it the
    teacher as it shall run (weights, precision): both are part of the key. Raises UserError for a path that cannot
    be written.
    """

    def __init__(self, settings: CacheSettings, teacher: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.settings, self.teacher, self.tokenizer = settings, teacher, tokenizer
        teacher_identity = identity(teacher, tokenizer, settings.dtype)
        self.root = copies_at(settings.path)
        self.folder = self.root / folder_name(teacher_identity)
        text, file = json.dumps(teacher_identity, indent=2), self.folder / "identity.json"
        try:
            if not (file.is_file() and file.read_bytes() == f"{text}\n".encode()):  # a whole cache is only read
                self.folder.mkdir(parents=True, exist_ok=True)
                write_whole(file, text)
        except OSError as error:
            raise UserError(f"cache.path={settings.path} cannot be written: {error.strerror}.") from error
        self._catalogue = Catalogue(self.folder)
        self._remote = RemoteShards(settings.path, self.folder) if is_remote(settings.path) else None

    def features(
        self, examples: Dataset, quantities: Iterable[Quantity], *, rank: int = 0, world: int = 1
    ) -> CachedFeatures:
        """Return the quantities of every example, after the teacher has computed those that are missing.

        Process `rank` of `world` begins with shards rank, rank + world, ... and then helps with what is left, so every
        process ends with a full cache. Of a cache behind a URL, what is there is copied first, and what is computed
        goes there shard by shard. What will be written is printed; UserError when it exceeds the limit or the free
        disk, and for features that cannot be kept. Broken shards are named, removed and computed again.
        """
        quantities = in_order(quantities)
        columns = input_columns(examples, self.tokenizer)
        digests, lengths = digests_of(examples, columns)
        if self._remote is not None:
            self._remote.pull(digests, [quantity.name for quantity in quantities])
        while True:
            places = self._catalogue.look_up(digests, quantities)
            is_first = np.zeros(len(digests), dtype=bool)  # the same text may occur twice
            is_first[np.unique(digests, return_index=True)[1]] = True
            missing = {quantity: is_first & (place.file < 0) for quantity, place in places.items()}
            plans = plan_shards(missing, self.settings.shard_examples)
            if not plans:
                if self._remote is not None and rank == 0:
                    self._remote.put_all()
                return CachedFeatures(lengths, places, self._catalogue.forms(places))
            inputs = examples.select_columns(columns)
            filler = Filler(
                self.root, self.folder, self._remote, self.settings, self.tokenizer, inputs, digests, lengths
            )
            filler.fill(self.teacher, plans, rank=rank, world=world)
