import shutil

import numpy as np
import pytest
import torch

from kdfeatures.cache.arrays import BrokenFile, write_array
from kdfeatures.cache.key import DIGEST
from kdfeatures.cache.shards import new_shard, read_shard, remove_if_broken, shard_name
from kdfeatures.errors import UserError


@pytest.fixture
def shard(tmp_path):
    """The name of a shard of two examples with one quantity."""
    digests = np.frombuffer(bytes(range(2 * DIGEST)), dtype=f"S{DIGEST}")
    name = shard_name(digests, ["hidden-1"])
    with new_shard(tmp_path, name, digests, np.asarray([1, 2])) as unfinished:
        write_array(unfinished / "hidden-1", torch.ones(3, 4), "float32")
    return name


def test_a_whole_shard_is_read_and_kept(tmp_path, shard):
    assert read_shard(tmp_path / shard).names == {"hidden-1"}
    assert remove_if_broken(tmp_path, shard, ["hidden-1"]) is None and (tmp_path / shard).is_dir()


@pytest.mark.parametrize("what", ["shard", "file"])
def test_links_are_broken_and_go_without_what_they_point_to(tmp_path, shard, what):
    place = tmp_path / shard if what == "shard" else tmp_path / shard / "hidden-1"
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    place.rename(elsewhere)
    place.symlink_to(elsewhere)
    with pytest.raises(BrokenFile, match="is a symbolic link"):
        read_shard(tmp_path / shard)
    assert "is a symbolic link" in remove_if_broken(tmp_path, shard, [])
    assert not (tmp_path / shard).exists() and elsewhere.exists()


def test_a_broken_shard_that_cannot_be_removed_is_an_error_and_no_endless_loop(tmp_path, shard, monkeypatch):
    (tmp_path / shard / "lengths").write_bytes(b"")

    def denied(path, *args, **kwargs):
        raise PermissionError(1, "Operation not permitted", str(path))

    monkeypatch.setattr(shutil, "rmtree", denied)
    with pytest.raises(
        UserError, match=r"cannot be removed \(Operation not permitted\); remove it yourself, or choose"
    ):
        remove_if_broken(tmp_path, shard, [])
