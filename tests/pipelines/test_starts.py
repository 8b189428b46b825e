"""Whole runs of students that begin with layers measured to matter, or with a head that stays the teacher's."""

import torch
from safetensors.torch import load_file

from kdfeatures.pipelines.rebuild_student import rebuilt

SHORT = ["trainer.max_steps=3", "student.layers=2"]


def weights(folder):
    return load_file(folder / "model.safetensors")


def test_layers_that_were_measured_are_named_and_found_again(workspace, capsys):
    results = workspace.distil("influential", "recipe=logits", "student.layers_by=importance", *SHORT)
    layers = results["copied_layers"]
    assert len(layers) == 2 and layers == sorted(layers) and set(layers) <= {1, 2, 3, 4}
    assert f"The student begins with the teacher's layers {layers[0]}, {layers[1]}." in capsys.readouterr().out
    before = rebuilt(str(workspace.folder / "influential"), str(workspace.teacher))
    assert before.note == f"began with a copy of the teacher's layers {layers[0]}, {layers[1]}"
    teacher = weights(workspace.teacher)
    for number, layer in enumerate(layers):
        name = "bert.encoder.layer.{}.output.dense.weight"
        assert torch.equal(before.model.state_dict()[name.format(number)], teacher[name.format(layer - 1)])


def test_what_the_first_stage_began_with_is_said_of_all(workspace):
    options = ["student.layers_by=importance", "student.vocabulary=task", *SHORT]
    options.append("stages.relations.losses.relations.relation_heads=4")
    results = workspace.distil("staged_start", "recipe=minilmv2", *options)
    assert len(results["copied_layers"]) == 2 and results["vocabulary"]["kept"] < results["vocabulary"]["of"]


def test_a_frozen_head_is_the_teachers_after_training_and_after_a_stage(workspace):
    teacher = weights(workspace.teacher)
    for name, recipe in (("frozen", "recipe=hidden_joint"), ("frozen_stages", "recipe=minilmv2")):
        own = ["stages.relations.losses.relations.relation_heads=4"] if "v2" in recipe else []
        workspace.distil(name, recipe, "student.freeze_head=true", *SHORT, *own)
        student = weights(workspace.folder / name)
        for part in ("bert.pooler.dense.weight", "classifier.weight", "classifier.bias"):
            assert torch.equal(student[part], teacher[part])
        assert not torch.equal(
            student["bert.encoder.layer.1.output.dense.weight"], teacher["bert.encoder.layer.3.output.dense.weight"]
        )
    free = workspace.distil("free_head", "recipe=hidden_joint", *SHORT)
    assert free["copied_layers"] is None
    assert not torch.equal(weights(workspace.folder / "free_head")["classifier.weight"], teacher["classifier.weight"])


def test_a_head_of_another_width_is_refused_before_training(workspace, capsys):
    try:
        workspace.distil("wide_head", "recipe=logits", "student.freeze_head=true", *SHORT, "student.hidden_size=16",
                         "student.heads=2", "student.init=random")  # fmt: skip
    except SystemExit as ended:
        assert ended.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert (
        "student.freeze_head=True copies the teacher's head" in line
        and "choose a student of the teacher's width" in line
    )
    assert not (workspace.folder / "wide_head" / "run.json").exists()
