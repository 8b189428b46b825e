import json
from functools import partialmethod

import fsspec
import numpy as np
import pytest
import safetensors.torch
import torch
from support.launching import kill
from support.object_stores import object_store
from transformers import AutoTokenizer, BertForSequenceClassification

from kdfeatures.cli.main import main


@pytest.fixture
def passes(monkeypatch):
    """Count examples that go through the teacher: the only model with 4 layers."""
    seen = []
    forward = BertForSequenceClassification.forward

    def counted(self, *args, **kwargs):
        if self.config.num_hidden_layers == 4:
            seen.append(len(kwargs["input_ids"]))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(BertForSequenceClassification, "forward", counted)
    return seen


def cached(folder, *more):
    return ["cache=auto", f"cache.path={folder}", "cache.dtype=float32", "student.layers=3", *more]


def students(*folders):
    return [safetensors.torch.load_file(folder / "model.safetensors") for folder in folders]


@pytest.mark.parametrize("recipe", ["tinybert_joint", "minilm_joint", "hidden_joint"])
def test_a_cached_run_gives_the_student_of_a_live_one(workspace, tmp_path, recipe):
    options = (
        [f"recipe={recipe}", "student.layers=3", "projection.always=true"]
        if recipe != "minilm_joint"
        else [f"recipe={recipe}", "student.layers=3"]
    )
    options.append("+trainer.adam_epsilon=1e-4")  # a key's bias has no gradient but rounding, which Adam would blow up
    live = workspace.distil(f"live_{recipe}", *options)
    kept = workspace.distil(f"kept_{recipe}", *cached(tmp_path, *options[:1], *options[2:]))
    for name, value in live["losses"].items():
        assert kept["losses"][name] == pytest.approx(value, rel=1e-3), name
    assert kept["teacher"]["metrics"] == live["teacher"]["metrics"]
    one, other = students(workspace.folder / f"live_{recipe}", workspace.folder / f"kept_{recipe}")
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-3, atol=1e-4, msg=name)


def test_data_and_cache_behind_urls_teach_the_same_student(workspace, tmp_path, passes, monkeypatch):
    options = ["trainer.learning_rate=2e-3", "trainer.num_train_epochs=1", "trainer.disable_tqdm=true",
               "recipe=hidden_joint", f"teacher.path={workspace.teacher}"]  # fmt: skip
    with object_store("s3", monkeypatch) as url:
        monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path / "first"))
        system, root = fsspec.url_to_fs(url)
        for split in ("train", "validation", "test"):
            system.put_file(str(workspace.folder / f"{split}.csv"), f"{root}/data/{split}.csv")
        task = [text for text in workspace.task if not text.startswith("data.path")] + [f"data.path={url}/data"]
        for name in ("first", "second"):
            monkeypatch.setenv("KDFEATURES_CACHE", str(tmp_path / name))  # as on another machine
            passes.clear()
            main(["distill", *task, *cached(f"{url}/features", *options), f"output_dir={tmp_path / name / 'out'}"])
            assert bool(passes) == (name == "first")
    here = tmp_path / "here"
    main(["distill", *workspace.task, *cached(tmp_path / "cache", *options), f"output_dir={here}"])
    (one, other), plain = students(*(tmp_path / name / "out" for name in ("first", "second"))), students(here)[0]
    assert all(torch.equal(one[name], other[name]) and torch.equal(one[name], plain[name]) for name in plain)
    assert json.loads((tmp_path / "second" / "out" / "results.json").read_text())["config"]["cache"]["path"].startswith(
        "s3://"
    )


def test_a_sweep_over_maps_asks_the_teacher_once_for_each_layer(workspace, tmp_path, passes):
    settings = ["trainer.num_train_epochs=2", "trainer.disable_tqdm=true", "recipe=tinybert_joint"]
    main(["distill", "-m", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={tmp_path / 'runs'}",
          *cached(tmp_path / "cache"), *settings, "mapping=uniform,last,first"])  # fmt: skip
    runs = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/results.json")]
    assert len(runs) == 3
    # uniform has layers 0 1 3 4, last adds 2, first needs no more; each filling probes with three examples
    assert sum(passes) == (80 + 3) + (320 + 3) + (320 + 3)


def test_filled_ahead_no_run_asks_the_teacher(workspace, tmp_path, passes, capsys):
    ahead = ["recipe=tinybert_joint", "more.hidden=[2]", "more.attention=[2]"]
    main(["cache", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={tmp_path / 'out'}",
          *cached(tmp_path), *ahead])  # fmt: skip
    told = capsys.readouterr().out
    assert "hidden of layers 0, 1, 2, 3, 4" in told and "of 320 examples" in told
    passes.clear()
    for mapping in ("last", "first"):
        workspace.distil(f"ahead_{mapping}", *cached(tmp_path, "recipe=tinybert_joint", f"mapping={mapping}", "seed=2"))
    assert not passes


def test_a_pool_without_labels_a_subset_and_pca_work_from_the_cache(workspace, tmp_path):
    options = ["recipe=minilmv2_joint", "+loss@losses.hidden=hidden_mse", "losses.relations.relation_heads=8",
    "projection=pca",
               "student.init=random", "student.layers=2", "student.hidden_size=24", "student.heads=2",
               "data.labelled=20", "data.train_examples=100"]  # fmt: skip
    live = workspace.distil("pca_live", *options)
    kept = workspace.distil("pca_kept", *[text for text in cached(tmp_path) if "layers" not in text], *options)
    for name, value in live["losses"].items():
        assert kept["losses"][name] == pytest.approx(value, rel=1e-3), name


def test_a_recipe_without_teacher_keeps_only_what_is_reported(workspace, tmp_path):
    workspace.distil("hard_cached", *cached(tmp_path, "recipe=hard"))
    assert len(list(tmp_path.glob("*/*/logits"))) == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_teacher_of_half_precision_teaches_live_and_cached(workspace, tmp_path, dtype):
    folder = workspace.folder / f"half_{dtype}"
    results = workspace.distil(folder.name, "recipe=tinybert_joint", "student.layers=3", f"teacher.dtype={dtype}")
    assert results["retained"] > 0.85
    assert students(folder)[0]["classifier.weight"].dtype == torch.float32
    workspace.distil(f"{folder.name}_cached", *cached(tmp_path, "recipe=logits", f"teacher.dtype={dtype}"))
    (identity,) = tmp_path.glob("*/identity.json")
    assert json.loads(identity.read_text())["precision"] == dtype


@pytest.mark.slow
def test_a_compiled_teacher_teaches_the_same(workspace, tmp_path, monkeypatch):
    # traced, but not turned into machine code, which would take minutes
    monkeypatch.setattr(torch.nn.Module, "compile", partialmethod(torch.nn.Module.compile, backend="eager"))
    # and each layer of it takes a second
    teacher = tmp_path / "one_layer"
    BertForSequenceClassification.from_pretrained(workspace.teacher, num_hidden_layers=1).save_pretrained(teacher)
    AutoTokenizer.from_pretrained(workspace.teacher).save_pretrained(teacher)
    options = ["recipe=tinybert_joint", "student.layers=1", "trainer.max_steps=3", "trainer.logging_steps=1"]
    options += [f"teacher.path={teacher}", "teacher.force=true"]
    plain = workspace.distil("uncompiled", *options)
    for name, more in {"compiled": [], "compiled_cached": ["cache=auto", f"cache.path={tmp_path / 'cache'}"]}.items():
        found = workspace.distil(name, *options, "teacher.compile=true", *more)
        for term, value in plain["losses"].items():
            assert found["losses"][term] == pytest.approx(value, rel=5e-3), term


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cache.path=somewhere"], "cache.path=somewhere has no effect with cache=off; say cache=auto as well"),
        (["cache=auto", "cache.dtype=float8"], "cache.dtype=float8 is unknown"),
        (["cache=auto", "cache.max_gib=0"], "cache.max_gib=0.0 must be a positive, finite number"),
        (["cache=auto", "cache.shard_examples=0"], "cache.shard_examples=0 must be at least 1"),
        (["cache=auto", "cache.batch_size=none"], "cache.batch_size"),
        (["teacher.dtype=float8"], "teacher.dtype=float8 is unknown"),
        (["teacher.compile=perhaps"], "teacher.compile"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_runs(workspace, tmp_path, passes, capsys, overrides, message):
    with pytest.raises(SystemExit, match="2"):
        main(["distill", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={tmp_path}", *overrides])
    assert message in capsys.readouterr().err
    assert not passes


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["cache=off", "cache.path=null"], "cannot do with cache=off"),
        (["teacher.path=null"], "needs a trained teacher"),
        (["recipe=hard"], "recipe=hard takes nothing from the teacher"),
        (["more.hidden=[9]"], "cannot capture hidden states of layer 9: this model has layers 0 to 4"),
        (["more.attention=[last]"], "more.attention"),
    ],
)
def test_the_command_says_what_it_cannot_fill(workspace, tmp_path, capsys, overrides, message):
    with pytest.raises(SystemExit, match="2"):
        main(["cache", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={tmp_path / 'out'}",
              f"cache.path={tmp_path}", *overrides])  # fmt: skip
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_filling_that_is_killed_goes_on_where_it_was(workspace, tmp_path, capsys):
    command = ["cache", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={tmp_path / 'out'}",
               "cache.shard_examples=8", "cache.batch_size=2", "recipe=tinybert_joint", "student.layers=3"]  # fmt: skip
    cache = f"cache.path={tmp_path / 'cache'}"
    kill([*command, cache], when=lambda: len(list(tmp_path.glob("cache/*/*/hidden.3"))) >= 12)
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("cache/*/[!.]*/hidden.3")}
    assert 4 < len(finished) < 40
    main([*command, cache])
    assert f"of {320 - 8 * len(finished)} examples" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert not [path for path in tmp_path.glob("cache/*/.*") if path.name != ".locks"]
    # the same as in one go
    main([*command, f"cache.path={tmp_path / 'other'}"])
    for path in tmp_path.glob("cache/*/*/hidden.3"):
        other = tmp_path / "other" / path.relative_to(tmp_path / "cache")
        np.testing.assert_array_equal(path.read_bytes(), other.read_bytes())


def test_a_recipe_in_stages_is_filled_for_all_of_them(workspace, tmp_path, passes):
    options = cached(tmp_path, "recipe=tinybert", "student.layers=2")
    main(["cache", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={tmp_path / 'fill'}",
          *options[1:]])  # fmt: skip
    assert passes
    passes.clear()
    short = [f"stages.{name}.trainer.num_train_epochs=1" for name in ("intermediate", "prediction")]
    workspace.distil("staged_cached", *options, *short)
    assert not passes


def test_a_run_with_an_int8_teacher_live_and_from_the_cache(workspace):
    settings = ["recipe=tinybert_joint", "student.layers=2", "teacher.dtype=int8", "data.train_examples=64"]
    live = workspace.distil("int8-live", *settings)
    cached = workspace.distil("int8-cached", *settings, "cache=auto", f"cache.path={workspace.folder / 'int8-cache'}")
    plain = workspace.distil("int8-plain", *settings, "teacher.dtype=float32")
    assert live["teacher"]["parameters"] == cached["teacher"]["parameters"] == plain["teacher"]["parameters"]
    for term, value in plain["losses"].items():
        assert live["losses"][term] == pytest.approx(value, rel=0.2)
        assert cached["losses"][term] == pytest.approx(live["losses"][term], rel=0.05)
    assert live["losses"] != plain["losses"]
