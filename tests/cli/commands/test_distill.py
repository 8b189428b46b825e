import json

import numpy as np
import pytest
import safetensors.torch
import torch
from support.launching import kill
from transformers import AutoModelForSequenceClassification, pipeline

from kdfeatures.cli.main import main

RECIPES = (
    "hard",
    "pseudo",
    "logits",
    "rkd",
    "pkd",
    "pkd_last",
    "hidden_joint",
    "tinybert_joint",
    "minilm_joint",
    "minilmv2_joint",
)


LABELS = ("hard", "logits", "rkd", "hidden_joint", "pkd", "pkd_last")


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_distils_a_student_that_keeps_most_of_the_teacher(workspace, recipe):
    results = workspace.distil(f"recipe_{recipe}", f"recipe={recipe}", "student.layers=3")
    assert results["recipe"] == recipe
    assert results["student"]["layers"] == 3 and results["teacher"]["layers"] == 4
    assert results["student"]["parameters"] < results["teacher"]["parameters"]
    assert results["retained"] > 0.85
    assert (results["labelled_examples"] > 0) == (recipe in LABELS)
    folder = workspace.folder / f"recipe_{recipe}"
    answers = pipeline("text-classification", model=str(folder))(["the dog that barked slept", "the dog slept"])
    assert {answer["label"] for answer in answers} <= {"plain", "relative"}
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    terms = {key for entry in log for key in entry if key.startswith("loss/")}
    assert terms == {f"loss/{name}" for name in results["config"]["losses"]}


@pytest.mark.parametrize("cache", ["off", "auto"])
def test_augmented_copies_are_labelled_by_the_teacher_alone(workspace, cache):
    options = ["recipe=logits", "student.layers=1", "data.train_examples=100", "augmentation=tinybert"]
    options += ["augmentation.copies=2", f"cache={cache}"]
    options += [f"cache.path={workspace.folder / 'augmented'}"] if cache == "auto" else []
    results = workspace.distil(f"augmented_{cache}", *options)
    assert results["labelled_examples"] == 100
    assert 250 < results["train_examples"] <= 300


@pytest.mark.parametrize("projection", ["linear", "orthonormal", "pca"])
def test_a_narrower_student_with_other_heads_learns_by_projection_and_relations(workspace, projection):
    results = workspace.distil(
        f"narrow_{projection}",
        "recipe=minilmv2_joint",
        "+loss@losses.hidden=hidden_mse",
        "losses.relations.relation_heads=8",
        f"projection={projection}",
        "student.init=random",
        "student.layers=2",
        "student.hidden_size=24",
        "student.heads=2",
        "trainer.num_train_epochs=6",
        "trainer.logging_steps=5",
        "trainer.save_strategy=no",
    )
    assert (results["student"]["hidden_size"], results["student"]["heads"]) == (24, 2)
    assert results["mapping"] == [[0, 0], [1, 2], [2, 4]]
    log = json.loads((workspace.folder / f"narrow_{projection}" / "trainer_state.json").read_text())["log_history"]
    assert results["losses"]["hidden"] < 0.7 * log[0]["loss/hidden"]


def test_losses_for_any_widths_and_schedules_distil_a_narrower_student_without_projections(workspace):
    free = ("energy_map", "token_gram", "linear_cka", "rkd_distance", "rkd_angle")
    results = workspace.distil(
        "free",
        "recipe=logits",
        "loss@losses.logits=decoupled_kd",
        *(f"+loss@losses.{name}={name}" for name in free),
        "losses.linear_cka.weight={schedule: cosine, start: 2.0, end: 0.5}",
        "losses.logits.temperature={schedule: linear, start: 4.0, end: 2.0}",
        "data.labelled=40",
        "student.init=random",
        "student.layers=2",
        "student.hidden_size=24",
        "student.heads=2",
        "trainer.num_train_epochs=2",
        "trainer.logging_steps=4",
    )
    folder = workspace.folder / "free"
    assert not (folder / "projections.safetensors").exists()
    assert results["labelled_examples"] == 40
    log = [entry for entry in json.loads((folder / "trainer_state.json").read_text())["log_history"] if "loss" in entry]
    assert results["losses"]["token_gram"] < 0.7 * log[0]["loss/token_gram"]
    weights = [entry["weight/linear_cka"] for entry in log]
    assert weights[0] > 1.9 and weights[-1] < 0.6 and weights == sorted(weights, reverse=True)
    assert 2 < log[-1]["temperature/logits"] < log[0]["temperature/logits"] < 4


def test_results_follow_the_documented_schema(workspace):
    from kdfeatures.runs import results as module

    results = workspace.distil("schema", "recipe=logits")
    documented = {"schema", "command", "task", "recipe", "mapping", "seed", "split", "metric", "teacher", "student"}
    documented |= {
        "maps",
        "heads",
        "retained",
        "examples",
        "train_examples",
        "labelled_examples",
        "pool_examples",
        "augmented_examples",
        "truncated",
        "copied_layers",
        "vocabulary",
        "base_models",
        "hub",
        "commits",
        "files",
        "seconds",
        "losses",
        "padding",
        "report",
        "processes",
        "versions",
        "device",
        "config",
    }
    assert results.keys() == documented
    assert all(name in module.__doc__ for name in documented)
    metric = results["metric"]
    assert metric == "combined_score"
    student, teacher = (results[side]["metrics"]["validation"][metric] for side in ("student", "teacher"))
    assert results["retained"] == pytest.approx(student / teacher)


def test_evaluate_agrees_with_what_distill_reported(workspace):
    reported = workspace.distil("evaluated", "recipe=logits")["student"]["metrics"]
    folder = workspace.folder / "evaluation"
    main(["evaluate", *workspace.task, f"model.path={workspace.folder / 'evaluated'}", f"output_dir={folder}"])
    assert json.loads((folder / "results.json").read_text())["student"]["metrics"] == reported


def test_a_teacher_with_its_labels_in_another_order_teaches_the_same(workspace):
    straight = workspace.distil("straight", "recipe=logits", "student.layers=4")
    model = AutoModelForSequenceClassification.from_pretrained(workspace.teacher)
    with torch.no_grad():
        for tensor in model.classifier.parameters():
            tensor.copy_(tensor.flip(0))
    model.config.id2label, model.config.label2id = {0: "Relative", 1: "PLAIN"}, {"Relative": 0, "PLAIN": 1}
    turned_dir = workspace.folder / "turned_teacher"
    model.save_pretrained(turned_dir)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (turned_dir / name).write_bytes((workspace.teacher / name).read_bytes())
    turned = workspace.distil("turned", "recipe=logits", "student.layers=4", f"teacher.path={turned_dir}")
    assert turned["teacher"]["metrics"] == straight["teacher"]["metrics"]
    logits = [np.load(workspace.folder / name / "logits.npz")["validation"] for name in ("straight", "turned")]
    np.testing.assert_allclose(*logits, atol=1e-5)


def test_a_regression_task_distils_by_squared_error(workspace):
    regression = [
        "task.name=length",
        "task.label=score",
        "task.labels=[]",
        "task.metrics=[pearson,spearmanr]",
        f"model.path={workspace.encoder}",
        "trainer.disable_tqdm=true",
        "trainer.learning_rate=3e-3",
        "trainer.per_device_train_batch_size=16",
        "trainer.num_train_epochs=8",
        "trainer.save_strategy=no",
    ]
    teacher = workspace.folder / "regression_teacher"
    main(["finetune", *workspace.task, *regression, f"output_dir={teacher}"])
    overrides = [text for text in regression if not text.startswith(("model.", "trainer."))]
    results = workspace.distil(
        "regression", *overrides, f"teacher.path={teacher}", "recipe=tinybert_joint", "student.layers=3"
    )
    assert results["teacher"]["metrics"]["validation"]["pearson"] > 0.8
    assert results["retained"] > 0.9


def test_a_pretrained_student_is_taken_as_it_is(workspace):
    results = workspace.distil("pretrained", "recipe=minilm_joint", f"student.path={workspace.encoder}")
    assert results["student"]["layers"] == 4


def test_an_output_folder_that_holds_a_run_offers_resume_and_overwrite(workspace, capsys):
    workspace.distil("existing", "recipe=hard")
    before = (workspace.folder / "existing" / "results.json").read_text()
    with pytest.raises(SystemExit, match="2"):
        workspace.distil("existing", "recipe=hard")
    assert "already holds a run" in capsys.readouterr().err
    workspace.distil("existing", "recipe=hard", "existing=resume")  # finished: nothing to do
    assert (workspace.folder / "existing" / "results.json").read_text() == before
    workspace.distil("existing", "recipe=hard", "seed=2", "existing=overwrite")
    assert json.loads((workspace.folder / "existing" / "results.json").read_text())["seed"] == 2


def test_choices_are_made_on_held_out_training_examples(workspace):
    short = ["recipe=hard", "trainer.max_steps=2", "trainer.eval_strategy=no", "trainer.save_strategy=no"]
    chosen = workspace.distil("held_out", *short, "data.held_out=0.25", "split=selection")
    whole = workspace.distil("not_held_out", *short)
    assert chosen["train_examples"] == 0.75 * whole["train_examples"]
    assert list(chosen["student"]["metrics"]) == list(chosen["teacher"]["metrics"]) == ["selection"]
    with np.load(workspace.folder / "held_out" / "logits.npz") as kept:
        assert len(kept["labels/selection"]) == 0.25 * whole["train_examples"]


def test_without_held_out_examples_there_is_no_such_split(workspace, capsys):
    with pytest.raises(SystemExit):
        workspace.distil("no_selection", "recipe=hard", "split=selection")
    assert "data.held_out=0.1 makes one of the training examples" in capsys.readouterr().err


def test_a_sweep_gives_every_combination_its_own_folder(workspace, capsys):
    folder = workspace.folder / "sweep"
    settings = [
        "trainer.max_steps=2",
        "trainer.disable_tqdm=true",
        "trainer.eval_strategy=no",
        "trainer.save_strategy=no",
    ]
    main(["distill", "-m", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={folder}", *settings,
          "recipe=hard,logits", "seed=1,2"])  # fmt: skip
    found = [json.loads(path.read_text()) for path in folder.glob("*/results.json")]
    assert sorted((run["recipe"], run["seed"]) for run in found) == [
        ("hard", 1),
        ("hard", 2),
        ("logits", 1),
        ("logits", 2),
    ]
    table = capsys.readouterr().out.split("Saved in")[-1]
    assert [line.split()[1] for line in table.splitlines() if line.startswith("| recipe=")] == [
        "recipe=hard",
        "recipe=hard",
        "recipe=logits",
        "recipe=logits",
    ]


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_student(workspace):
    def command(folder):
        return [
            "distill", *workspace.task, f"teacher.path={workspace.teacher}",
            f"output_dir={folder}", "recipe=tinybert_joint", "student.layers=3", "trainer.num_train_epochs=4",
            "trainer.disable_tqdm=true", "trainer.eval_strategy=no", "projection.always=true",
        ]  # fmt: skip

    whole, killed = workspace.folder / "whole", workspace.folder / "killed"
    main(command(whole))
    kill(command(killed), when=lambda: any(killed.glob("checkpoint-*/trainer_state.json")))
    assert not (killed / "results.json").exists()
    main([*command(killed), "existing=resume"])
    for file in ("model.safetensors", "projections.safetensors"):
        one, other = (safetensors.torch.load_file(folder / file) for folder in (whole, killed))
        for name in one:
            assert torch.equal(one[name], other[name]), name
