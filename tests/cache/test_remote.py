import fsspec
import numpy as np
import pytest
from support.caching import shards, small_cache
from support.object_stores import KINDS, names, object_store

from kdfeatures.cache import LOGITS, Quantity
from kdfeatures.errors import UserError

HIDDEN = Quantity("hidden", 2)


@pytest.fixture(params=KINDS)
def machines(request, monkeypatch, tmp_path):
    """A function that goes to another machine: one whose copies are elsewhere. Gives the URL of the cache."""
    with object_store(request.param, monkeypatch) as url:

        def machine(name):
            monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path / name))
            return url

        yield machine


@pytest.fixture
def teacher(cache):
    return cache.teacher


def count_passes(teacher):
    seen = []
    teacher.register_forward_pre_hook(lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True)
    return seen


def test_what_one_machine_has_computed_another_reads(machines, teacher, examples):
    first = small_cache(machines("a"), teacher).features(examples, [LOGITS, HIDDEN])
    url = machines("b")
    there = names(url)
    assert len(there) == 5 * 4 and all("/." not in name for name in there), "five shards of four files"
    seen = count_passes(teacher)
    other = small_cache(url, teacher)
    np.testing.assert_array_equal(other.features(examples, [LOGITS, HIDDEN]).logits(), first.logits())
    assert not seen and len(shards(other)) == 5
    assert names(url) == there


def test_only_shards_with_these_examples_and_quantities_come(machines, teacher, examples):
    small_cache(machines("a"), teacher).features(examples, [LOGITS])
    other = small_cache(machines("b"), teacher)
    other.features(examples.select(range(5)), [LOGITS])
    assert len(shards(other)) == 1
    seen = count_passes(teacher)
    other.features(examples.select(range(5)), [HIDDEN])
    assert seen and len(shards(other)) == 2


def test_a_shard_that_was_not_put_there_whole_is_none(machines, teacher, examples):
    url = machines("a")
    expected = small_cache(url, teacher).features(examples, [LOGITS, HIDDEN]).logits()
    system, _ = fsspec.url_to_fs(url)
    half, broken, lacking = sorted({name.rpartition("/")[0] for name in names(url)})[:3]
    system.rm(system._strip_protocol(f"{url}/{half}/digests"))  # as when its upload ended early
    with fsspec.open(f"{url}/{broken}/logits", "r+b" if url.startswith("memory") else "wb") as file:
        file.write(b"\0" * 600)
    system.rm(system._strip_protocol(f"{url}/{lacking}/hidden.2"))
    seen = count_passes(teacher)
    other = small_cache(machines("b"), teacher)
    np.testing.assert_array_equal(other.features(examples, [LOGITS, HIDDEN]).logits(), expected)
    assert sum(seen) - 3 in (28, 30), "three of five shards are computed anew, the last one of 8 examples; two probes"
    whole = names(url)
    assert len(whole) == 20
    seen.clear()
    small_cache(machines("c"), teacher).features(examples, [LOGITS, HIDDEN])
    assert not seen and names(url) == whole


def test_what_a_killed_run_did_not_upload_goes_there_the_next_time(machines, teacher, examples):
    url = machines("a")
    small_cache(url, teacher).features(examples, [LOGITS])
    system, root = fsspec.url_to_fs(url)
    whole = names(url)
    system.rm(root, recursive=True)
    seen = count_passes(teacher)
    small_cache(url, teacher).features(examples, [LOGITS])
    assert not seen and names(url) == whole


def test_the_limit_counts_what_is_behind_the_url(machines, teacher, examples):
    url = machines("a")
    small_cache(url, teacher).features(examples, [LOGITS])
    size = sum(fsspec.url_to_fs(url)[0].size(f"{url}/{name}".partition("://")[2]) for name in names(url))
    machines("b")
    other = small_cache(url, teacher, max_gib=(size + 100) / 2**30)
    with pytest.raises(UserError, match=rf"and {url} holds .* KiB: more than cache.max_gib"):
        other.features(examples, [LOGITS, HIDDEN])


def test_a_place_that_cannot_be_reached_is_one_line(monkeypatch, tmp_path, teacher):
    monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="cache.path=nowhere://bucket: Protocol not known: nowhere"):
        small_cache("nowhere://bucket", teacher)
