"""A run of version 0.1.0 before modules and options had their present names: it is read, resumed, compared, inspected.

tests/fixtures/run_before_the_move holds a teacher, a finished run with the checkpoint of its first epoch, and the cache
that it read. Its terms have the option names of then (over_pairs, heads of RelationKL, student_share).
"""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
import transformers

import kdfeatures as kd
from kdfeatures.cli.main import main

FIXTURE = Path(__file__).parents[1] / "fixtures" / "run_before_the_move"
TASK = [
    "task=files", "task.name=clauses", "task.text=[sentence]", "task.label=label", "task.labels=[plain,relative]",
    "task.metrics=[accuracy]", "task.files.train=train.csv", "task.files.validation=validation.csv",
    "data.max_length=16",
]  # fmt: skip
RUN = [
    "distill", *TASK, "teacher.path=teacher", "teacher.force=true", "student.layers=1", "student.hidden_size=4",
    "student.heads=1", "student.init=random", "recipe=tinybert_joint", "mapping=learned", "heads=learned",
    "+loss@losses.relations=relation_kl", "losses.relations.relation_heads=2",
    "+mapping@losses.relations.mapping=uniform", "+loss@losses.divergence=jensen_shannon",
    "losses.divergence.beta=0.7", "trainer.per_device_train_batch_size=8", "trainer.num_train_epochs=2",
    "trainer.disable_tqdm=true", "trainer.save_strategy=epoch", "trainer.learning_rate=1e-3", "cache=auto",
    "cache.path=cache", "output_dir=run", "existing=resume",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    shutil.copytree(FIXTURE, tmp_path / "then")
    monkeypatch.chdir(tmp_path / "then")
    return Path()


def cached_files(folder):
    return {
        path: path.stat().st_mtime_ns
        for path in (folder / "cache").rglob("*")
        if path.is_file() and path.suffix != ".json"
    }


def test_the_fixture_has_the_names_of_then():
    terms = json.loads((FIXTURE / "run" / "results.json").read_text())["config"]["losses"]
    assert terms["hidden"]["over_pairs"] == "sum" and terms["relations"]["heads"] == 2
    assert terms["divergence"]["student_share"] == 0.3


def test_its_results_are_read(folder):
    results = kd.RunResults.read("run")
    assert results.student.layers == 1 and results.teacher.hidden_size == 8 and results.score == 0.125
    assert set(results.losses) == {"logits", "hidden", "attention", "relations", "divergence"}


def test_it_is_taken_as_the_same_finished_run(folder, capsys):
    before = (folder / "run" / "results.json").read_text()
    main(RUN)
    assert "12.5" in capsys.readouterr().out
    assert (folder / "run" / "results.json").read_text() == before


def test_another_value_of_a_renamed_option_is_noticed(folder, capsys):
    with pytest.raises(SystemExit):
        main([text.replace("beta=0.7", "beta=0.6") for text in RUN])
    assert "losses.divergence.beta" in capsys.readouterr().err


def test_its_checkpoint_goes_on_to_the_student_it_then_became(folder):
    then = json.loads((folder / "run" / "results.json").read_text())
    names = ("model", "projections", "maps", "heads")
    saved = {name: safetensors.torch.load_file(folder / "run" / f"{name}.safetensors") for name in names}
    for name in ("results.json", "model.safetensors", "projections.safetensors"):
        (folder / "run" / name).unlink()
    cached = cached_files(folder)
    main(RUN)
    now = json.loads((folder / "run" / "results.json").read_text())
    assert now["student"]["metrics"] == then["student"]["metrics"]
    for name in names:
        made = safetensors.torch.load_file(folder / "run" / f"{name}.safetensors")
        assert made.keys() == saved[name].keys()
        for key, tensor in made.items():
            torch.testing.assert_close(tensor, saved[name][key], rtol=1e-3, atol=1e-5)
    identity = json.loads(next((folder / "cache").glob("*/identity.json")).read_text())
    if (identity["torch"], identity["transformers"]) == (torch.__version__, transformers.__version__):
        assert cached_files(folder) == cached


def test_it_is_scored_inspected_and_compared(folder, capsys):
    main(["evaluate", *TASK, "model.path=run", "output_dir=scores"])
    assert kd.RunResults.read("scores").score == 0.125
    main(
        [
            "inspect", *TASK, "teacher.path=teacher", "student.path=run", "output_dir=page",
            "inspect.measures=[divergence]", "inspect.sentences=1",
        ]
    )  # fmt: skip
    assert "with seed 1\nOpen" in capsys.readouterr().out  # how the student began is known from its results
    assert (folder / "page" / "index.html").exists()
    assert [row.arm for row in kd.compare_runs(".").rows] == ["run"]
