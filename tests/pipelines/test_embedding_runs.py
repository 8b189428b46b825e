"""distill, evaluate, inspect and export of students of an embedding model."""

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.byte_students import byte_student
from support.kind_runs import KindRuns
from transformers import AutoModel, AutoTokenizer

from kdfeatures.cli.main import main
from kdfeatures.embeddings.folder import read_pooling, write_modules
from kdfeatures.embeddings.pooling import Pooling

UNIT = Pooling("mean", normalize=True)
NARROW = ["student.init=random", "student.hidden_size=16", "student.heads=2"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    made = KindRuns.make(tmp_path_factory.mktemp("embedding"), "embedding")
    write_modules(made.folder / "encoder", UNIT, width=32, limit=48)
    distil(made, "student")
    return made


def distil(runs, name, *overrides):
    return runs.distil(name, "recipe=embedding", *overrides, teacher="encoder")


def vectors_of(folder, texts):
    """By hand: the mean of the real tokens, divided by its length."""
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    rows = []
    for text in texts:
        with torch.no_grad():
            mean = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        rows.append((mean / mean.norm()).numpy())
    return np.stack(rows)


TEXTS = ["ada met alan", "in the new garden near york", "sleepless"]


def test_a_student_without_labels_comes_near_its_teacher_and_keeps_its_pooling(runs):
    results = runs.results("student")
    teacher, student = (results[side]["metrics"]["validation"]["spearmanr"] for side in ("teacher", "student"))
    assert teacher > 0.5 and student > 0.95 * teacher and results["labelled_examples"] == 0
    assert results["losses"]["vectors"] < 0.05 and results["examples"] == {"validation": 60}
    assert read_pooling(str(runs.folder / "student"), "x") == Pooling("mean", True, 48)
    again = runs.evaluate("scored", f"model.path={runs.folder / 'student'}")
    assert again["student"]["metrics"]["validation"]["spearmanr"] == pytest.approx(student)
    state = json.loads((runs.folder / "student" / "trainer_state.json").read_text())
    logged = [entry for entry in state["log_history"] if "eval_spearmanr" in entry]
    assert logged[-1]["eval_spearmanr"] == pytest.approx(student) and "eval_loss" not in logged[-1]
    card = (runs.folder / "student" / "README.md").read_text()
    assert "SentenceTransformer(" in card and "library_name: sentence-transformers" in card
    assert "without their labels" in card


def test_sentence_transformers_loads_the_student_and_gives_the_same_unit_vectors(runs):
    library = pytest.importorskip("sentence_transformers")
    found = library.SentenceTransformer(str(runs.folder / "student"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(found, vectors_of(runs.folder / "student", TEXTS), atol=1e-6)


def test_the_snippet_of_the_card_runs(runs, capsys, monkeypatch):
    pytest.importorskip("sentence_transformers")
    monkeypatch.chdir(runs.folder)
    exec(runs.snippet("student"), {})
    assert "tensor([[1." in capsys.readouterr().out


def test_a_teacher_that_does_not_normalise_has_a_student_that_does_not(runs):
    plain = runs.folder / "plain"
    AutoModel.from_pretrained(runs.folder / "encoder").save_pretrained(plain)
    AutoTokenizer.from_pretrained(runs.folder / "encoder").save_pretrained(plain)
    runs.distil("of_plain", "recipe=embedding", "trainer.max_steps=1", teacher="plain")
    assert read_pooling(str(runs.folder / "of_plain"), "x") == Pooling("mean", False, 48)


def test_a_narrower_student_learns_through_a_map_that_is_saved_and_resumed(runs):
    once = ["trainer.max_steps=8", "trainer.save_strategy=steps", "+trainer.save_steps=4", *NARROW]
    distil(runs, "narrow", *once)
    learned = load_file(runs.folder / "narrow" / "vectors.safetensors")
    assert {name: tuple(x.shape) for name, x in learned.items()} == {
        "of_vectors.weight": (32, 16),
        "of_vectors.bias": (32,),
    }
    assert vectors_of(runs.folder / "narrow", TEXTS).shape == (3, 16)
    distil(runs, "halved", *once)
    shutil.rmtree(runs.folder / "halved" / "checkpoint-8")
    (runs.folder / "halved" / "results.json").unlink()
    distil(runs, "halved", *once, "existing=resume")
    for file in ("vectors.safetensors", "model.safetensors"):
        whole, resumed = (load_file(runs.folder / name / file) for name in ("narrow", "halved"))
        for tensor in whole:
            torch.testing.assert_close(resumed[tensor], whole[tensor], atol=1e-5, rtol=1e-3)


def test_a_cache_gives_the_student_of_the_live_teacher(runs):
    for cache in ("off", "auto"):
        distil(runs, f"cached_{cache}", "trainer.max_steps=4", f"cache={cache}",
               *([f"cache.path={runs.folder / 'cache'}"] if cache == "auto" else []))  # fmt: skip
    live, cached = (load_file(runs.folder / f"cached_{cache}" / "model.safetensors") for cache in ("off", "auto"))
    for tensor in live:
        torch.testing.assert_close(cached[tensor], live[tensor], atol=1e-5, rtol=1e-3)


def test_nothing_is_kept_for_a_teacher_of_the_same_weights_with_another_pooling(runs):
    other = shutil.copytree(runs.folder / "encoder", runs.folder / "first_token")
    write_modules(other, Pooling("cls", normalize=True), width=32, limit=48)
    scores = []
    for teacher, cache in (("encoder", "auto"), ("encoder", "off"), ("first_token", "auto"), ("first_token", "off")):
        results = runs.distil(
            f"pooled_{teacher}_{cache}", "recipe=embedding", "trainer.max_steps=1", "trainer.eval_strategy=no",
            f"cache={cache}", *([f"cache.path={runs.folder / 'poolings'}"] if cache == "auto" else []), teacher=teacher,
        )  # fmt: skip
        scores.append(results["teacher"]["metrics"]["validation"]["spearmanr"])
    assert scores[0] == pytest.approx(scores[1]) and scores[2] == pytest.approx(scores[3])
    assert abs(scores[0] - scores[2]) > 0.01


def test_neither_tokenizer_nor_layers_need_be_the_teachers(runs):
    student = byte_student(runs.folder / "bytes")
    results = distil(runs, "of_bytes", f"student.path={student}", "student.layers=null", "trainer.num_train_epochs=2")
    assert results["student"]["metrics"]["validation"]["spearmanr"] > 0.4
    assert read_pooling(str(runs.folder / "of_bytes"), "x").normalize


def test_layers_may_be_compared_beside_the_vectors_and_rkd_takes_the_place_of_similarities(runs):
    results = distil(runs, "layers", "trainer.max_steps=3", "+loss@losses.hidden=hidden_mse",
                     "loss@losses.similarity=embedding_rkd_distance")  # fmt: skip
    assert set(results["losses"]) == {"vectors", "similarity", "hidden"} and results["mapping"]


def test_texts_alone_are_enough_and_nothing_is_scored_then(runs):
    (runs.folder / "texts.csv").write_text("title\n" + "\n".join(TEXTS * 8) + "\n")
    main(["distill", "task=embedding_files", "task.name=titles", "task.text=[title]", "task.files.train=texts.csv",
          f"data.path={runs.folder}", "recipe=embedding", f"teacher.path={runs.folder / 'encoder'}", "student.layers=1",
          "trainer.max_steps=2", "trainer.disable_tqdm=true", f"output_dir={runs.folder / 'titles'}"])  # fmt: skip
    results = json.loads((runs.folder / "titles" / "results.json").read_text())
    assert results["student"]["metrics"] == {} and results["train_examples"] == 24


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["recipe=logits"], "which compares outputs that mean classes"),
        (["recipe=embedding", "trainer.metric_for_best_model=loss"], "metric_for_best_model=loss is not measured"),
        (["recipe=embedding", "task.label=null"], "scores nothing; give task.label"),
        (["recipe=embedding", "student.freeze_head=true"], "student.freeze_head=true copies the teacher's head"),
    ],
)
def test_what_cannot_be_is_told_before_training(runs, overrides, told, capsys):
    with pytest.raises(SystemExit):
        runs.distil("refused", *overrides, teacher="encoder")
    assert told in capsys.readouterr().err.strip().splitlines()[-1]


def test_parts_of_the_teacher_and_of_its_vocabulary_are_enough(runs):
    parts = ["student.init=pruned", "student.hidden_size=16", "student.heads=2", "student.init_examples=32"]
    results = distil(runs, "pruned", *parts, "student.vocabulary=task", "trainer.max_steps=4")
    assert results["student"]["hidden_size"] == 16 and results["vocabulary"]["kept"] <= results["vocabulary"]["of"]
    assert read_pooling(str(runs.folder / "pruned"), "x").normalize


def test_a_model_without_labels_to_score_it_by_is_refused(runs, capsys):
    with pytest.raises(SystemExit):
        runs.evaluate("unscored", f"model.path={runs.folder / 'encoder'}", "task.label=null", "task.metrics=[]")
    assert "task=small has no labels to score a model by" in capsys.readouterr().err


def test_finetune_and_several_teachers_are_refused(runs, capsys):
    with pytest.raises(SystemExit):
        runs.finetune("tuned")
    assert "which finetune does not train" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        distil(runs, "two", f"+teachers.other.path={runs.folder / 'encoder'}")
    assert "several teachers have none in common" in capsys.readouterr().err


def test_layers_and_heads_are_inspected(runs):
    main(["inspect", *runs.task, f"teacher.path={runs.folder / 'encoder'}", f"student.path={runs.folder / 'student'}",
          "inspect.examples=20", "mapping=final", f"output_dir={runs.folder / 'page'}"])  # fmt: skip
    assert (runs.folder / "page" / "index.html").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("operators_once")
def test_an_export_gives_the_same_vectors(runs):
    onnxruntime = pytest.importorskip("onnxruntime")
    main(
        [
            "export",
            *runs.task,
            f"model.path={runs.folder / 'student'}",
            f"output_dir={runs.folder / 'onnx'}",
            "resamples=20",
        ]
    )
    session = onnxruntime.InferenceSession(str(runs.folder / "onnx" / "model.onnx"))
    inputs = AutoTokenizer.from_pretrained(runs.folder / "student")(TEXTS, padding=True, return_tensors="np")
    (found,) = session.run(["logits"], {entry.name: inputs[entry.name] for entry in session.get_inputs()})
    np.testing.assert_allclose(found, vectors_of(runs.folder / "student", TEXTS), atol=1e-4)
