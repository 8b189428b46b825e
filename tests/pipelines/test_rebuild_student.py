"""The student that a run began with, made again."""

import json

import pytest
import torch
from support.inspected import save_encoder
from transformers import AutoModelForSequenceClassification

from kdfeatures.cli.main import main
from kdfeatures.data.synthetic import tokenizer
from kdfeatures.pipelines.rebuild_student import rebuilt

pytestmark = pytest.mark.slow
UNTRAINED = ["trainer.max_steps=1", "trainer.learning_rate=0", "trainer.warmup_steps=0", "trainer.disable_tqdm=true"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a teacher's encoder and classifiers of it."""
    made = tmp_path_factory.mktemp("before")
    encoder = save_encoder(made / "encoder", tokenizer(), layers=4, width=16, heads=2)
    for name in ("teacher", "other"):
        main(["finetune", "task=agreement", f"model.path={encoder}", f"output_dir={made / name}", *UNTRAINED,
              "data.train_examples=8"])  # fmt: skip
    return made


def distil(folder, name, *overrides):
    main(["distill", "task=agreement", f"teacher.path={folder / 'teacher'}", f"output_dir={folder / name}", *UNTRAINED,
          "recipe=hard", "data.train_examples=8", *overrides])  # fmt: skip
    return folder / name


@pytest.mark.parametrize(
    ("name", "overrides", "said"),
    [
        ("copied", ["student.layers_from=[1,4]"], "began with a copy of the teacher's layers 1, 4"),
        ("random", ["student.layers=2", "student.init=random", "student.hidden_size=8", "seed=7"], "with seed 7"),
        ("seeded", ["student.layers=2", "student.init=random", "student.seed=9"], "with seed 9"),
    ],
)
def test_a_student_that_learned_nothing_is_the_one_it_began_as(folder, name, overrides, said):
    student = distil(folder, name, *overrides)
    before = rebuilt(str(student), str(folder / "teacher"))
    assert said in before.note
    trained = AutoModelForSequenceClassification.from_pretrained(student).state_dict()
    for key, value in before.model.state_dict().items():
        torch.testing.assert_close(value, trained[key], rtol=0, atol=0)


def test_a_pretrained_student_began_as_itself(folder):
    student = distil(folder, "pretrained", f"student.path={folder / 'encoder'}", "student.layer_share=0.5")
    before = rebuilt(str(student), str(folder / "teacher"))
    assert before.note == f"began as {folder / 'encoder'}" and before.model.config.num_hidden_layers == 4


def test_it_says_why_a_beginning_is_not_known(folder, tmp_path):
    teacher, student = str(folder / "teacher"), distil(folder, "again", "student.layers=2")
    assert "has no results.json" in rebuilt(str(folder / "encoder"), teacher).note
    assert "is of finetune, not of distill" in rebuilt(teacher, teacher).note
    assert "began as a part of" in rebuilt(str(student), str(folder / "other")).note
    results = json.loads((student / "results.json").read_text())
    del results["config"]["stages"]
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "does not tell how the student began" in rebuilt(str(tmp_path), teacher).note
    results["config"]["stages"] = {"one": {}, "two": {"born_again": True}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    assert "of a later generation" in rebuilt(str(tmp_path), teacher).note
