"""A cache behind a URL, such as s3://bucket/features: shards come from there, and go there, whole.

An object store has no folder that appears at once. What makes a shard of its files is the list of digests, which is put
there last and taken from there first; its name says which files there must be, and each has its checksum.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath

import fsspec
import numpy as np

from kdfeatures.cache.arrays import BrokenFile, open_array
from kdfeatures.cache.key import DIGEST
from kdfeatures.cache.shards import DIGESTS, LENGTHS, shard_name, shards_in, unfinished_shard
from kdfeatures.data.files.remote import readable

logger = logging.getLogger(__name__)


class RemoteShards:
    """The shards of one teacher behind a URL, and the folder on this machine that holds copies of them.

    url: of the whole cache. folder: has the teacher's name, as that below the URL has. All methods raise UserError in
    one line when the URL cannot be reached.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        with self._reachable():
            self._system, self._cache = fsspec.url_to_fs(url)
        self._root = f"{self._cache.rstrip('/')}/{folder.name}"

    def size(self) -> int:
        """Return how many bytes lie behind the URL, those of other teachers included."""
        with self._reachable():
            return int(self._system.du(self._cache)) if self._system.exists(self._cache) else 0

    def pull(self, digests: np.ndarray, names: Collection[str]) -> None:
        """Copy the shards that hold features with these names of some of these examples, and are not here yet."""
        here, wanted = {path.name for path in shards_in(self.folder)}, set(digests.tolist())
        for shard, files in self._shards().items():
            if shard not in here and files & set(names):
                self._copy(shard, files, wanted)

    def take(self, shard: str) -> bool:
        """Copy one shard, if another machine has put it there meanwhile."""
        files = self._shards().get(shard)
        return files is not None and self._copy(shard, files)

    def put(self, shard: str) -> None:
        """Upload a shard of the folder; whole, or to be seen by nobody."""
        files = sorted((self.folder / shard).iterdir(), key=lambda file: file.name == DIGESTS)
        with self._reachable():
            self._system.makedirs(f"{self._root}/{shard}", exist_ok=True)
            for file in files:
                self._system.put_file(str(file), f"{self._root}/{shard}/{file.name}")

    def put_all(self) -> None:
        """Upload the shards that are not there: a killed run may have made some that it did not come to upload."""
        there = self._shards()
        for path in shards_in(self.folder):
            if path.name not in there:
                self.put(path.name)

    def _shards(self) -> dict[str, set[str]]:
        """Return the whole shards by name, and their files."""
        with self._reachable():
            self._system.invalidate_cache()
            paths = map(PurePosixPath, self._system.find(self._root))
        files: dict[str, set[str]] = {}
        for path in paths:
            files.setdefault(path.parent.name, set()).add(path.name)
        return {shard: names for shard, names in files.items() if DIGESTS in names}

    def _copy(self, shard: str, files: set[str], wanted: set[bytes] | None = None) -> bool:
        """Copy a shard, unless it has none of the wanted examples; one that is broken is removed there."""
        try:
            with unfinished_shard(self.folder, shard) as unfinished:
                raw = self._array(shard, DIGESTS, unfinished)
                digests = raw.view(f"S{DIGEST}").ravel()
                if wanted is not None and wanted.isdisjoint(digests.tolist()):
                    raise _Unwanted
                for file in files - {DIGESTS}:
                    self._array(shard, file, unfinished)
                if shard_name(digests, files - {DIGESTS, LENGTHS}) != shard:
                    raise BrokenFile(f"{self.url}: the shard {shard} lacks files, or has some of another one")
        except _Unwanted:
            return False
        except BrokenFile as error:
            with self._reachable():
                self._system.rm(f"{self._root}/{shard}", recursive=True)
            logger.info(f"Teacher cache: {error}; removed the shard there, whose features are computed anew.")
            return False
        return True

    def _array(self, shard: str, file: str, folder: Path) -> np.ndarray:
        """Copy one file, and return its array. Raises BrokenFile."""
        with self._reachable():
            self._system.get_file(f"{self._root}/{shard}/{file}", str(folder / file))
        try:
            array: np.ndarray = open_array(folder / file, verify=True)[0].numpy()
        except BrokenFile as error:
            raise BrokenFile(f"{self.url}: {shard}/{file} is not what was written") from error
        return array

    @contextlib.contextmanager
    def _reachable(self) -> Iterator[None]:
        with readable(self.url, "cache.path"):
            yield


class _Unwanted(Exception):
    """A shard has none of the examples asked for."""
