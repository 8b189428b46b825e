"""Students that teach students of the same architecture."""

import pytest
import safetensors.torch
import torch
from support.composing import plain

from kdfeatures.config.stages import stages_of
from kdfeatures.errors import UserError


def first_weights(folder):
    return safetensors.torch.load_file(folder / "model.safetensors")


def test_every_generation_has_the_teachers_architecture_and_learns_from_the_one_before(workspace):
    as_the_teacher = ["trainer.learning_rate=3e-3", "trainer.per_device_train_batch_size=16"]
    quick = ["trainer.num_train_epochs=5", "trainer.save_strategy=no", "trainer.eval_strategy=no"]
    settings = [*quick, "~stages.generation_3", *as_the_teacher]
    results = workspace.distil("generations", "recipe=born_again", *settings)
    folder = workspace.folder / "generations"
    assert [stage["name"] for stage in results["stages"]] == ["generation_1", "generation_2"]
    assert results["teacher"]["path"] == str(folder / "stages" / "1-generation_1")
    assert results["teacher"]["layers"] == results["student"]["layers"] == 4
    assert results["student"]["parameters"] == results["teacher"]["parameters"]
    assert results["student"]["metrics"]["validation"]["accuracy"] > 0.8
    assert results["labelled_examples"] == 320
    assert results["losses"].keys() == {"labels", "logits"}


def test_generations_begin_with_weights_of_their_own(workspace):
    # a learning rate of 0 keeps the weights that each stage begins with
    settings = ["teacher.force=true", "trainer.max_steps=1", "trainer.learning_rate=0.0", "~stages.generation_3"]
    workspace.distil("beginnings", "recipe=born_again", *settings)
    stages = workspace.folder / "beginnings" / "stages"
    one, two = (first_weights(stages / name) for name in ("1-generation_1", "2-generation_2"))
    name = "bert.encoder.layer.0.attention.self.query.weight"
    assert one.keys() == two.keys() and not torch.allclose(one[name], two[name])
    workspace.distil("seeded", "recipe=born_again", *settings, "~stages.generation_2", "student.seed=2")
    again = first_weights(workspace.folder / "seeded" / "stages" / "1-generation_1")
    assert all(torch.equal(again[name], two[name]) for name in two)


def test_a_pretrained_student_begins_every_generation_anew(workspace):
    settings = ["teacher.force=true", "trainer.max_steps=1", "trainer.learning_rate=0.0", "~stages.generation_3"]
    workspace.distil("pretrained_generations", "recipe=born_again", f"student.path={workspace.encoder}", *settings)
    encoder = first_weights(workspace.encoder)
    for stage in (workspace.folder / "pretrained_generations" / "stages").iterdir():
        found = first_weights(stage)
        assert all(torch.equal(x, found[f"bert.{name}"]) for name, x in encoder.items() if "pooler" not in name)


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ({"one": {"born_again": True}}, "stages.one.born_again=true needs a stage before it, whose student then"),
        ({"one": {}, "two": {"born_again": "yes"}}, "stages.two.born_again=yes must be true or false"),
        ({"one": {}, "two": {"born_again": True, "each_pair": True}}, "stages.two is either born_again or each_pair"),
    ],
)
def test_stages_that_cannot_be_generations_are_refused(stages, message):
    config = plain("distill", "recipe=logits", "output_dir=out") | {"stages": stages}
    with pytest.raises(UserError, match=message):
        stages_of(config, lambda: (2, 4))


@pytest.mark.parametrize("share", [0, -0.5, 1.5])
def test_a_share_of_the_layers_outside_0_to_1_is_refused(workspace, capsys, share):
    with pytest.raises(SystemExit):
        workspace.distil("refused_share", "recipe=logits", f"student.layer_share={share}")
    assert f"student.layer_share={float(share)} must be above 0 and at most 1" in capsys.readouterr().err
