"""finetune, distill, cache and evaluate on a task with a label for every word."""

import csv
import json

import pyarrow.parquet
import pytest
import torch
from support.byte_students import byte_tagger
from support.shared_data import SHARED, task_config
from support.tagged import TAGS, pieces_tokenizer, sentences, write_sentences
from support.tokenizer_kinds import tokenizer_of
from support.trained_answers import asked_again
from transformers import BertConfig, BertForTokenClassification, BertModel, pipeline

from kdfeatures.cli.main import main
from kdfeatures.data.load import encode, load_task
from kdfeatures.tasks.registry import task_type
from kdfeatures.tasks.task import Task
from kdfeatures.tokenization.teacher_columns import comparable_words, with_teacher_inputs

__all__ = ["asked_again"]

QUICK = ["trainer.disable_tqdm=true", "data.max_length=24", "trainer.per_device_train_batch_size=16"]


def task_of(folder):
    return [
        "task=token_files",
        "task.name=names",
        "task.text=[tokens]",
        "task.label=tags",
        f"task.labels=[{','.join(TAGS)}]",
        "task.metrics=[entity_f1,accuracy]",
        "task.files.train=train.jsonl",
        "task.files.validation=validation.jsonl",
        f"data.path={folder}",
        *QUICK,
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the data, a tiny encoder and a teacher."""
    made = tmp_path_factory.mktemp("names")
    for split, count, seed in (("train", 240, 0), ("validation", 60, 1)):
        write_sentences(made / f"{split}.jsonl", sentences(count, seed))
    words = pieces_tokenizer()
    torch.manual_seed(0)
    BertModel(
        BertConfig(
            vocab_size=len(words),
            num_hidden_layers=4,
            hidden_size=32,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=24,
            initializer_range=0.05,
        )
    ).save_pretrained(made / "encoder")
    words.save_pretrained(made / "encoder")
    main(["finetune", *task_of(made), f"model.path={made / 'encoder'}", f"output_dir={made / 'teacher'}",
          "trainer.learning_rate=5e-3", "trainer.num_train_epochs=5"])  # fmt: skip
    return made


def distil(folder, name, *overrides):
    settings = ["trainer.learning_rate=3e-3", "trainer.num_train_epochs=2", "student.layers=2"]
    main(["distill", *task_of(folder), f"teacher.path={folder / 'teacher'}", f"output_dir={folder / name}",
          *settings, *overrides])  # fmt: skip
    return json.loads((folder / name / "results.json").read_text())


def test_a_teacher_learns_the_entities_and_says_what_it_is(folder):
    results = json.loads((folder / "teacher" / "results.json").read_text())
    scores = results["student"]["metrics"]["validation"]
    assert scores["entity_f1"] > 0.9 and scores["accuracy"] > 0.95
    assert results["metric"] == "combined_score" and results["train_examples"] == 240
    state = json.loads((folder / "teacher" / "trainer_state.json").read_text())
    logged = [entry["eval_entity_f1"] for entry in state["log_history"] if "eval_entity_f1" in entry]
    assert len(logged) == 5 and logged[-1] == pytest.approx(scores["entity_f1"])
    found = pipeline("token-classification", model=str(folder / "teacher"))("ada lovelace met alan")
    assert [entry["entity"] for entry in found if not entry["word"].startswith("##")][:2] == ["B-PER", "I-PER"]
    assert "token-classification" in (folder / "teacher" / "README.md").read_text()


@pytest.mark.parametrize("recipe", ["logits", "minilmv2_joint"])
def test_a_student_learns_from_few_labels_and_the_words_without(folder, recipe, asked_again):
    heads = ["losses.relations.relation_heads=4"] if recipe == "minilmv2_joint" else []
    results = distil(folder, recipe, f"recipe={recipe}", "data.labelled=20", *heads)
    assert results["train_examples"] == 240
    assert results["retained"] > 0.8 and asked_again == [["validation"]]
    assert results["losses"] and all(value is not None for value in results["losses"].values())


def test_the_teachers_class_order_is_followed_by_name(folder):
    moved = folder / "moved"
    model = BertForTokenClassification.from_pretrained(folder / "teacher")
    model.config.id2label = dict(enumerate(TAGS[::-1]))
    model.config.label2id = {name: i for i, name in enumerate(TAGS[::-1])}
    with torch.no_grad():
        for parameter in model.classifier.parameters():
            parameter.copy_(parameter.flip(0))
    model.save_pretrained(moved)
    pieces_tokenizer().save_pretrained(moved)
    results = distil(folder, "from_moved", "recipe=logits", f"teacher.path={moved}", "trainer.max_steps=2")
    original = json.loads((folder / "teacher" / "results.json").read_text())
    assert results["teacher"]["metrics"] == original["student"]["metrics"]


def test_a_cached_run_gives_the_student_of_a_live_one(folder, tmp_path):
    options, short = ["recipe=tinybert_joint", "data.train_examples=80"], "trainer.num_train_epochs=1"
    live = distil(folder, "live", *options, short)
    cached = ["cache=auto", f"cache.path={tmp_path}", "cache.dtype=float32"]
    main(["cache", *[text for text in task_of(folder) if not text.startswith("trainer.")], "student.layers=2",
          f"teacher.path={folder / 'teacher'}", f"output_dir={tmp_path / 'out'}", *options, *cached])  # fmt: skip
    kept = distil(folder, "kept", *options, *cached, short)
    assert kept["teacher"]["metrics"] == live["teacher"]["metrics"]
    for name, value in live["losses"].items():
        assert kept["losses"][name] == pytest.approx(value, rel=1e-3), name
    assert len(list(tmp_path.glob("*/*/token_logits"))) == 2  # of the training and of the reported examples


def test_a_recipe_in_stages_runs(folder):
    results = distil(folder, "staged", "recipe=minilmv2", "trainer.max_steps=4",
                     "stages.relations.losses.relations.relation_heads=4")  # fmt: skip
    assert [stage["name"] for stage in results["stages"]] == ["relations", "finetune"]


def test_evaluate_scores_words_and_writes_predictions_where_labels_are_hidden(folder, tmp_path):
    main(["evaluate", *[text for text in task_of(folder) if not text.startswith("trainer.")],
          f"model.path={folder / 'teacher'}", f"output_dir={tmp_path / 'scored'}"])  # fmt: skip
    scored = json.loads((tmp_path / "scored" / "results.json").read_text())["student"]["metrics"]
    trained = json.loads((folder / "teacher" / "results.json").read_text())["student"]["metrics"]
    assert scored == {"validation": pytest.approx(trained["validation"])}
    rows = [{"tokens": ["ada", "lovelace", "slept"], "tags": [-1, -1, -1]}]
    write_sentences(folder / "test.jsonl", rows)
    main(["evaluate", *[text for text in task_of(folder) if not text.startswith("trainer.")], "split=test",
          "task.files.test=test.jsonl", f"model.path={folder / 'teacher'}",
          f"output_dir={tmp_path / 'hidden'}"])  # fmt: skip
    with (tmp_path / "hidden" / "predictions_test.csv").open() as stream:
        assert [list(row.values()) for row in csv.DictReader(stream)] == [
            ["0", "0", "B-PER"], ["0", "1", "I-PER"], ["0", "2", "O"]]  # fmt: skip


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["augmentation=tinybert"], "task 'names' is of kind tokens; use augmentation=off"),
        (["teacher.path={encoder}"], "was never fine-tuned for token classification"),
    ],
)
def test_what_has_no_meaning_for_words_is_refused(folder, capsys, overrides, told):
    with pytest.raises(SystemExit, match="2"):
        distil(folder, "refused", *(text.format(encoder=folder / "encoder") for text in overrides))
    assert told in capsys.readouterr().err


def test_the_treebank_has_the_tags_of_its_task():
    data = SHARED / "corpora" / "ud-ewt"
    if not data.is_dir():
        pytest.skip("no treebank at ../shared/corpora/ud-ewt beside the checkout")
    task = Task.from_config(task_config("ud_ewt"))
    loaded = load_task(task, str(data))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 2001, "validation": 2077}
    raw = pyarrow.parquet.read_table(data / "validation.parquet").slice(0, 50).to_pylist()
    encoded = encode(loaded["validation"].select(range(50)), pieces_tokenizer(), task, 512)
    assert task_type(task).labels(encoded).tolist() == [tag for row in raw for tag in row["upos"]]


@pytest.mark.parametrize("recipe", ["hidden_joint"])
def test_a_tagger_of_another_tokenizer_learns_words_by_their_first_pieces(folder, recipe):
    student = byte_tagger(folder / "byte_tagger")
    results = distil(
        folder, f"other_pieces_{recipe}", f"recipe={recipe}", f"student.path={student}", "student.layers=null",
        "trainer.num_train_epochs=8", "data.max_length=48", "trainer.save_strategy=no",
    )  # fmt: skip
    assert results["teacher"]["metrics"]["validation"]["entity_f1"] > 0.9
    assert results["student"]["metrics"]["validation"]["accuracy"] > 0.75  # 0.4 are O


def test_words_that_one_tokenizer_cuts_off_teach_nothing(folder):
    task = Task.from_config(task_config("token_files") | {
        "name": "names", "text": ["tokens"], "label": "tags", "labels": TAGS, "metrics": ["accuracy"],
        "files": {"train": "train.jsonl"},
    })  # fmt: skip
    raw = load_task(task, str(folder))["train"]
    own, its = tokenizer_of("byte-bpe", 400), pieces_tokenizer()
    encoded = with_teacher_inputs(raw, encode(raw, own, task, 12), task, own, {"main": its}, 12)
    cut = comparable_words(encoded, ["main"])
    fewer = 0
    for before, after in zip(encoded, cut, strict=True):
        counts = [sum(label != -100 for label in after[name]) for name in ("labels", "teacher_inputs.main.labels")]
        all_words = [sum(label != -100 for label in before[name]) for name in ("labels", "teacher_inputs.main.labels")]
        assert counts[0] == counts[1] == min(all_words)
        fewer += counts[0] < max(all_words)
    assert fewer > 10
