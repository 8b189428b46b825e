import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.caching import shards, small_cache
from support.launching import side_by_side
from support.tiny import tiny_classifier, undropped

from kdfeatures.cache import LOGITS, Quantity
from kdfeatures.cache.shards import locked
from kdfeatures.errors import UserError

UNKNOWN_LABEL = Quantity("hidden", 2)
QUERY = Quantity("query", 3)


def count_passes(cache):
    """Return a list that grows by the examples of every pass of the teacher."""
    seen = []
    cache.teacher.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    return seen


def test_the_second_asking_takes_all_from_disk(cache, examples):
    first = cache.features(examples, [LOGITS, UNKNOWN_LABEL]).logits()
    seen = count_passes(cache)
    again = small_cache(cache.root, cache.teacher)
    np.testing.assert_array_equal(again.features(examples, [LOGITS, UNKNOWN_LABEL]).logits(), first)
    assert not seen
    with torch.no_grad():
        expected = cache.teacher(input_ids=torch.tensor(examples[:1]["input_ids"])).logits
    torch.testing.assert_close(torch.from_numpy(first[:1]), expected)


def test_subsets_and_other_orders_find_their_examples(cache, examples):
    whole = cache.features(examples, [LOGITS]).logits()
    seen = count_passes(cache)
    rows = [30, 2, 2, 41]
    np.testing.assert_array_equal(cache.features(examples.select(rows), [LOGITS]).logits(), whole[rows])
    assert not seen


def test_more_examples_cost_only_themselves(cache, examples):
    cache.features(examples.select(range(20)), [LOGITS])
    seen = count_passes(cache)
    cache.features(examples, [LOGITS])
    assert sum(seen) == 28 + 3  # and two probes, of one and two examples


def test_more_layers_are_added_beside_those_that_are_there(cache, examples):
    cache.features(examples, [LOGITS, UNKNOWN_LABEL])
    before = {path: path.stat().st_mtime_ns for shard in shards(cache) for path in shard.iterdir()}
    found = cache.features(examples, [LOGITS, UNKNOWN_LABEL, QUERY])
    assert {path: path.stat().st_mtime_ns for path in before} == before
    added = {path.name for shard in shards(cache) for path in shard.iterdir() if path not in before}
    assert added == {"digests", "lengths", "query.3"}
    batch = found.batch([4, 9], torch.ones(2, max(found.lengths[[4, 9]]), dtype=torch.long))
    assert batch["attention"][3]["query"].shape[-1] == batch["hidden"][2].shape[-1] == 24


def test_a_text_that_occurs_twice_is_kept_once(cache, examples):
    twice = examples.select([*range(10), *range(10)])
    logits = cache.features(twice, [LOGITS]).logits()
    np.testing.assert_array_equal(logits[:10], logits[10:])
    (shard,) = shards(cache)
    assert (shard / "logits").stat().st_size == 512 + 10 * 2 * 4


def test_another_teacher_has_its_own_folder(cache, examples):
    cache.features(examples, [LOGITS])
    other = small_cache(cache.root, tiny_classifier(layers=3, width=24))
    assert other.folder != cache.folder
    assert json.loads((other.folder / "identity.json").read_text())["dtype"] == "float32"
    other.features(examples, [LOGITS])
    assert len(shards(other)) == len(shards(cache)) == 5


@pytest.mark.parametrize("file", ["logits", "digests", "hidden.2"])
@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_a_broken_shard_is_named_removed_and_filled_again(cache, examples, capsys, file, damage):
    expected = cache.features(examples, [LOGITS, UNKNOWN_LABEL]).logits()
    shard = shards(cache)[2]
    content = (shard / file).read_bytes()
    (shard / file).write_bytes(content[:-3] if damage == "cut" else content[:-1] + bytes([content[-1] ^ 1]))
    again = small_cache(cache.root, cache.teacher)
    np.testing.assert_allclose(again.features(examples, [LOGITS, UNKNOWN_LABEL]).logits(), expected, atol=1e-6)
    told = capsys.readouterr().out
    assert str(shard / file) in told and f"removed the shard {shard}" in told
    assert (shard / file).read_bytes() == content


@pytest.mark.parametrize("file", ["logits", "lengths"])
def test_a_shard_that_lacks_a_file_is_broken(cache, examples, capsys, file):
    cache.features(examples, [LOGITS])
    (shards(cache)[3] / file).unlink()
    assert len(small_cache(cache.root, cache.teacher).features(examples, [LOGITS]).logits()) == 48
    assert "removed the shard" in capsys.readouterr().out


def test_an_unfinished_shard_is_ignored_and_swept_away(cache, examples):
    cache.features(examples, [LOGITS])
    lost = shards(cache)[1]
    lost.rename(cache.folder / f".{lost.name}.0123")  # as a writer that was killed leaves it
    again = small_cache(cache.root, cache.teacher)
    seen = count_passes(again)
    again.features(examples, [LOGITS])
    assert 3 < sum(seen) <= 10 + 3
    assert [path.name for path in again.folder.glob(".*")] == [".locks"]
    assert len(shards(again)) == 5


def test_an_error_leaves_nothing_half_written(cache, examples):
    calls = []

    def fail_later(*_):
        calls.append(None)
        if len(calls) > 6:
            raise RuntimeError("the power went out")

    handle = cache.teacher.classifier.register_forward_hook(fail_later)
    with pytest.raises(RuntimeError, match="the power went out"):
        cache.features(examples, [LOGITS])
    handle.remove()
    assert len(shards(cache)) == 1  # of 10 examples, in batches of 4; two more passes probed
    assert [path.name for path in cache.folder.glob(".*")] == [".locks"]
    assert len(cache.features(examples, [LOGITS]).logits()) == 48


def test_a_shard_that_another_process_writes_is_left_to_it(cache, examples):
    with locked(cache.folder, "name", wait=False) as ours:
        assert ours
        with locked(cache.folder, "name", wait=False) as again:
            assert not again
    with locked(cache.folder, "name", wait=False) as ours:
        assert ours


def test_a_limit_is_kept_and_the_error_says_the_size_and_what_shrinks_it(tmp_path, examples):
    cache = small_cache(tmp_path, tiny_classifier(layers=3), max_gib=2e-5)
    seen = count_passes(cache)
    with pytest.raises(UserError) as caught:
        cache.features(examples, [LOGITS, UNKNOWN_LABEL, QUERY])
    tokens = sum(map(len, examples["input_ids"]))
    told = str(caught.value)
    assert f"48 examples ({tokens:,} tokens) take {(48 * 2 + tokens * 48) * 4 / 1024:.1f} KiB" in told
    assert "cache.max_gib=2e-05" in told and "mapping" in told and "\n" not in told
    assert seen == [1, 2] and not shards(cache)


def test_a_disk_without_room_is_told_before_anything_is_written(cache, examples, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2048))
    with pytest.raises(UserError, match=r"take \d+\.\d KiB, but only 2\.0 KiB are free at cache\.path="):
        cache.features(examples, [LOGITS, UNKNOWN_LABEL])
    assert not shards(cache)


def test_the_size_printed_is_the_size_written(cache, examples, capsys):
    cache.features(examples, [LOGITS, UNKNOWN_LABEL, QUERY])
    told = capsys.readouterr().out
    size = sum(
        (shard / name).stat().st_size - 512 for shard in shards(cache) for name in ("logits", "hidden.2", "query.3")
    )
    assert f"take {size / 1024:.1f} KiB" in told and "logits, hidden of layer 2, query of layer 3" in told


def test_values_beyond_half_precision_are_refused_with_the_dtype_that_holds_them(tmp_path, examples):
    teacher = tiny_classifier(layers=3)
    with torch.no_grad():
        teacher.bert.encoder.layer[1].output.LayerNorm.weight.fill_(1e5)
    with pytest.raises(UserError, match=r"hidden\.2 reaches .*, which float16 cannot hold; use cache\.dtype=bfloat16"):
        small_cache(tmp_path, teacher, dtype="float16").features(examples, [UNKNOWN_LABEL])
    small_cache(tmp_path, teacher, dtype="bfloat16").features(examples, [UNKNOWN_LABEL])


def test_a_teacher_that_pools_tokens_is_refused(tmp_path, examples):
    with pytest.raises(UserError, match="hidden of layer 3 has . tokens for . of input"):
        small_cache(tmp_path, tiny_classifier("funnel")).features(examples, [Quantity("hidden", 3)])


@pytest.mark.parametrize(("family", "depends"), [("bert", False), ("roberta", False), ("mobilebert", True)])
def test_a_teacher_that_depends_on_padding_is_told(tmp_path, examples, capsys, family, depends):
    small_cache(tmp_path, undropped(family)).features(examples.select(range(8)), [LOGITS, UNKNOWN_LABEL])
    assert ("depend on how far a batch is padded" in capsys.readouterr().out) is depends


def test_a_path_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cache.path=.* cannot be written"):
        small_cache(tmp_path / "file", tiny_classifier())


@pytest.mark.parametrize("rank", [0, 1])
def test_a_rank_begins_with_every_second_shard_and_ends_with_all(cache, examples, rank, monkeypatch):
    written = []
    real = Path.rename
    monkeypatch.setattr(Path, "rename", lambda path, target: (written.append(target.name), real(path, target)))
    cache.features(examples, [LOGITS], rank=0, world=1)
    in_order = list(written)
    for shard in shards(cache):
        for path in shard.iterdir():
            path.unlink()
        shard.rmdir()
    written.clear()
    small_cache(cache.root, cache.teacher).features(examples, [LOGITS], rank=rank, world=2)
    assert written[: len(in_order[rank::2])] == in_order[rank::2]
    assert sorted(written) == sorted(in_order)


@pytest.mark.slow
def test_two_processes_share_the_work_and_both_end_with_all(tmp_path):
    printed = side_by_side("fills_a_cache.py", [(tmp_path, rank, 2) for rank in (0, 1)])
    found = [json.loads(lines.splitlines()[-1]) for lines in printed]
    assert found[0]["logits"] == found[1]["logits"]
    # each probed with three examples, and no shard was computed twice
    assert found[0]["examples"] + found[1]["examples"] - 6 == 400
    assert all(one["examples"] > 40 for one in found)
