"""Whole runs of students that keep the tokens of their task alone."""

import json

import pytest
import torch
from safetensors.torch import load_file
from support.byte_students import byte_student
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

from kdfeatures.cli.main import main

SHORT = ["trainer.max_steps=4", "data.max_length=48"]
CUT = "student.vocabulary=task"


@pytest.fixture(scope="module")
def text_corpus(workspace):
    path = workspace.folder / "corpus.txt"
    path.write_text("no bird sang\n\nthe horse saw an owner\n")
    return path


@pytest.mark.parametrize("recipe", ["tinybert_joint", "minilm_joint", "hidden_joint", "logits"])
def test_a_cut_vocabulary_trains_the_student_of_the_whole_one(workspace, recipe):
    losses = []
    for name, options in (("whole", []), ("cut", [CUT])):
        results = workspace.distil(f"{name}_{recipe}", f"recipe={recipe}", "student.layers=2", *SHORT, *options)
        losses.append(results["losses"])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    whole, cut = (load_file(workspace.folder / f"{name}_{recipe}" / "model.safetensors") for name in ("whole", "cut"))
    for name, tensor in cut.items():
        if "word_embeddings" not in name:
            torch.testing.assert_close(tensor, whole[name], atol=2e-4, rtol=1e-2)


def test_what_is_saved_is_smaller_and_reads_texts_alike(workspace):
    results = workspace.distil("small_vocabulary", "recipe=logits", "student.layers=2", CUT, *SHORT)
    folder, teacher = workspace.folder / "small_vocabulary", workspace.teacher
    words, all_words = AutoTokenizer.from_pretrained(folder), AutoTokenizer.from_pretrained(teacher)
    sizes = results["vocabulary"]
    assert sizes == {"kept": len(words), "of": len(all_words)} and sizes["kept"] < sizes["of"]
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert model.get_input_embeddings().num_embeddings == len(words) == model.config.vocab_size
    for text in ("the dog that chased a cat slept", "no bird sang"):
        kept = words.convert_ids_to_tokens(words(text)["input_ids"])
        assert kept == all_words.convert_ids_to_tokens(all_words(text)["input_ids"]) or "[UNK]" in kept
    answer = pipeline("text-classification", str(folder))("the dog that chased a cat slept")[0]
    assert answer["label"] in ("plain", "relative")
    main(["evaluate", *workspace.task, f"model.path={folder}", f"output_dir={workspace.folder / 'evaluated_small'}"])
    scored = json.loads((workspace.folder / "evaluated_small" / "results.json").read_text())
    model_results = scored.get("student") or scored["model"]
    assert model_results["metrics"]["validation"] == results["student"]["metrics"]["validation"]


def test_pieces_of_a_corpus_are_kept_too(workspace, text_corpus):
    sizes = []
    for number, options in enumerate(([], [f"student.vocabulary_corpus={text_corpus}"])):
        results = workspace.distil(
            f"bytes_{number}", "recipe=minilm_joint", f"student.path={byte_student(workspace.folder / f'b{number}')}",
            CUT, *SHORT, *options,
        )  # fmt: skip
        sizes.append(results["vocabulary"])
    assert sizes[0]["of"] == sizes[1]["of"] and sizes[0]["kept"] <= sizes[1]["kept"] < sizes[1]["of"]


@pytest.mark.parametrize("init", ["pruned", "pca"])
def test_narrower_students_keep_the_rows_of_what_they_inherit(workspace, init):
    results = workspace.distil(
        f"narrow_cut_{init}", "recipe=logits", CUT, "student.layers=2", "student.hidden_size=16", "student.heads=2",
        f"student.init={init}", *SHORT,
    )  # fmt: skip
    rows = load_file(workspace.folder / f"narrow_cut_{init}" / "model.safetensors")[
        "bert.embeddings.word_embeddings.weight"
    ]
    assert rows.shape == (results["vocabulary"]["kept"], 16)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["student.vocabulary=all"], "student.vocabulary=all is unknown; write task, or null"),
        (["student.vocabulary_corpus=x.txt"], "has no effect without a vocabulary that is cut; set vocabulary=task"),
        (
            [CUT, "student.vocabulary_corpus=nowhere.txt"],
            "'nowhere.txt' is not a file; check student.vocabulary_corpus",
        ),
    ],
)
def test_mistakes_are_one_line(workspace, capsys, options, told):
    with pytest.raises(SystemExit, match="2"):
        workspace.distil("refused_vocabulary", "recipe=logits", "student.layers=2", *options)
    assert told in capsys.readouterr().err.splitlines()[-1]
