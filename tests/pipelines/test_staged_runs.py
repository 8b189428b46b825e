"""Runs in several stages: what is handed on, what is frozen, and where a stopped run goes on."""

import json

import pytest
import safetensors.torch
import torch
from support.launching import kill

from kdfeatures.cli.main import main
from kdfeatures.config.compose import composed
from kdfeatures.config.load import distill_settings
from kdfeatures.pipelines.distill import run_distillation

SHORT = {
    "tinybert": ["stages.intermediate.trainer.num_train_epochs=1", "stages.prediction.trainer.num_train_epochs=1",
                 "stages.intermediate.trainer.learning_rate=2e-3", "stages.prediction.trainer.learning_rate=2e-3"],
    "mobilebert": ["student.init=teacher", "trainer.num_train_epochs=1"],
    "minilmv2": ["stages.relations.losses.relations.relation_heads=8"],
    "minilm": [],
    "fitnets": [],
}  # fmt: skip
STAGES = {
    "tinybert": ["intermediate", "prediction"],
    "mobilebert": ["layer_1", "layer_2", "layer_3", "kd"],
    "minilmv2": ["relations", "finetune"],
    "minilm": ["relations", "finetune"],
    "fitnets": ["hint", "kd"],
}


def weights(folder, file="model"):
    return safetensors.torch.load_file(folder / f"{file}.safetensors")


@pytest.mark.parametrize("recipe", SHORT)
def test_every_recipe_in_stages_distils_a_student_that_keeps_most_of_the_teacher(workspace, recipe):
    results = workspace.distil(f"staged_{recipe}", f"recipe={recipe}", "student.layers=3", *SHORT[recipe])
    folder = workspace.folder / f"staged_{recipe}"
    assert [stage["name"] for stage in results["stages"]] == STAGES[recipe]
    assert sorted(path.name for path in (folder / "stages").iterdir()) == [
        f"{number}-{name}" for number, name in enumerate(STAGES[recipe], 1)
    ]
    assert results["retained"] > 0.85
    assert results["recipe"] == recipe and results["student"]["path"] == str(folder)
    for stage in results["stages"]:
        assert stage["losses"] and stage["seconds"]["train"] > 0
    last = sorted((folder / "stages").iterdir())[-1]
    assert all(torch.equal(value, weights(last)[name]) for name, value in weights(folder).items())


def test_a_stage_begins_with_the_student_and_the_projections_of_the_one_before(workspace):
    options = ["recipe=tinybert_joint", "student.layers=2", "projection.always=true", "trainer.max_steps=4"]
    options += ["+stages.one={}", "+stages.two={trainer: {learning_rate: 0.0}}"]
    workspace.distil("handed_on", *options)
    first, second = (workspace.folder / "handed_on" / "stages" / name for name in ("1-one", "2-two"))
    for file in ("model", "projections"):
        one, other = weights(first, file), weights(second, file)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), file


def test_layers_below_the_one_that_is_trained_stay_as_they_are(workspace):
    workspace.distil("progressive", "recipe=mobilebert", "student.init=random", "student.layers=3",
                     "trainer.max_steps=3")  # fmt: skip
    one, two, three = (
        weights(folder) for folder in sorted((workspace.folder / "progressive" / "stages").iterdir())[:3]
    )
    for before, after, layer in ((one, two, 2), (two, three, 3)):
        changed = {name for name in before if not torch.equal(before[name], after[name])}
        assert changed and all(f"bert.encoder.layer.{layer - 1}." in name for name in changed)


def test_a_stage_that_cannot_run_is_refused_before_the_first_one_trains(workspace, capsys):
    folder = workspace.folder / "refused"
    with pytest.raises(SystemExit):
        main(["distill", *workspace.task, f"teacher.path={workspace.teacher}", f"output_dir={folder}",
              "recipe=fitnets", "student.layers=3", "stages.kd.losses.logits.temperature=-1"])  # fmt: skip
    assert "temperature" in capsys.readouterr().err
    assert not (folder / "stages").exists()


def test_a_folder_with_stages_is_not_overwritten_unasked(workspace, capsys):
    options = ["recipe=fitnets", "student.layers=2", "trainer.max_steps=1"]
    workspace.distil("kept", *options)
    (workspace.folder / "kept" / "results.json").unlink()
    (workspace.folder / "kept" / "model.safetensors").unlink()
    with pytest.raises(SystemExit):
        workspace.distil("kept", *options)
    assert "already holds a run (stages)" in capsys.readouterr().err


def test_finished_stages_are_not_run_again(workspace):
    options = ["recipe=fitnets", "student.layers=2", "trainer.max_steps=2"]
    first = workspace.distil("again", *options)
    folder = workspace.folder / "again"
    (folder / "results.json").unlink()
    (folder / "stages" / "2-kd" / "results.json").unlink()
    before = (folder / "stages" / "1-hint" / "results.json").stat().st_mtime_ns
    second = workspace.distil("again", *options, "existing=resume")
    assert (folder / "stages" / "1-hint" / "results.json").stat().st_mtime_ns == before
    assert second["student"]["metrics"] == first["student"]["metrics"]
    assert second["stages"][0] == first["stages"][0]


@pytest.mark.slow
def test_a_run_that_is_killed_in_its_second_stage_ends_with_the_same_student(workspace):
    def command(folder):
        return [
            "distill", *workspace.task, f"teacher.path={workspace.teacher}",
            f"output_dir={folder}", "recipe=tinybert", "student.layers=3", "trainer.disable_tqdm=true",
            "stages.intermediate.trainer.num_train_epochs=1", "stages.prediction.trainer.num_train_epochs=3",
            "trainer.eval_strategy=no", "projection.always=true",
        ]  # fmt: skip

    whole, killed = workspace.folder / "whole_stages", workspace.folder / "killed_stages"
    main(command(whole))
    kill(command(killed), when=lambda: any(killed.glob("stages/2-prediction/checkpoint-*/trainer_state.json")))
    assert not (killed / "results.json").exists()
    main([*command(killed), "existing=resume"])
    one, other = weights(whole), weights(killed)
    assert all(torch.equal(one[name], other[name]) for name in one)
    steps = [json.loads((folder / "stages/2-prediction/trainer_state.json").read_text())["global_step"]
             for folder in (whole, killed)]  # fmt: skip
    assert steps[0] == steps[1]


@pytest.mark.parametrize(("steps", "epochs"), [(5, [1]), (10, [2]), (12, [3, 3])])  # an epoch has 10 batches
def test_epochs_of_stages_are_those_that_were_trained(workspace, tmp_path, steps, epochs):
    said = []
    overrides = [
        *workspace.task[1:], f"teacher.path={workspace.teacher}", "student.layers=1", "trainer.disable_tqdm=true",
        *(f"+stages.{stage}.trainer.max_steps={steps}" for stage in ("intermediate", "prediction")),
    ]  # fmt: skip
    choices = {"task": "files", "recipe": "tinybert"}
    settings = distill_settings(composed("distill", tmp_path, choices=choices, values={}, overrides=overrides))
    run_distillation(settings, tmp_path, on_epoch=lambda epoch, score: said.append(epoch))
    assert said == epochs
