import pytest
from support.composing import plain

from kdfeatures.config.stages import stages_of
from kdfeatures.errors import UserError


def staged(*overrides, **stages):
    return plain("distill", "recipe=logits", *overrides) | {"stages": stages}


def depths(student, teacher):
    return lambda: (student, teacher)


def test_a_config_without_stages_is_its_only_stage():
    config = plain("distill", "recipe=tinybert_joint")
    (stage,) = stages_of(config, depths(2, 4))
    assert (stage.name, stage.config) == ("", config)


def test_a_stage_changes_what_it_says_and_takes_the_rest_from_outside():
    config = staged("trainer.max_steps=7", one={"trainer": {"learning_rate": 0.5}}, two={"data": {"max_length": 9}})
    one, two = stages_of(config, depths(2, 4))
    assert (one.name, two.name) == ("one", "two")
    assert (one.config["trainer"]["learning_rate"], one.config["trainer"]["max_steps"]) == (0.5, 7)
    assert two.config["trainer"]["learning_rate"] == config["trainer"]["learning_rate"]
    assert two.config["data"]["max_length"] == 9
    assert one.config["data"] == config["data"] and one.config["stages"] == {}


def test_losses_outside_hold_for_every_stage():
    extra = {"_target_": "kdfeatures.losses.HardLabel", "weight": 2.0}
    one, two = stages_of(staged(one={"losses": {"extra": extra}}, two={}), depths(2, 4))
    assert set(one.config["losses"]) == {"labels", "logits", "extra"}
    assert set(two.config["losses"]) == {"labels", "logits"}


def test_a_stages_mapping_replaces_the_whole_one_outside():
    final = {"_target_": "kdfeatures.mapping.final", "teacher_layer": None}
    (stage,) = stages_of(staged(one={"mapping": final}), depths(2, 4))
    assert stage.config["mapping"] == final  # and has nothing of the rule outside, such as `embeddings`


def test_each_pair_makes_a_stage_for_every_layer_and_freezes_what_lies_below():
    stages = stages_of(staged(layer={"each_pair": True}, end={}), depths(3, 6))
    assert [stage.name for stage in stages] == ["layer_1", "layer_2", "layer_3", "end"]
    assert [list(stage.config["mapping"]["pairs"][0]) for stage in stages[:3]] == [[1, 2], [2, 4], [3, 6]]
    assert [stage.config.get("freeze_below") for stage in stages] == [None, 2, 3, None]


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ({"loses": {}}, "stages.one.loses is unknown; did you mean 'losses'?; a stage takes"),
        ({"each_pair": "yes"}, "stages.one.each_pair=yes must be true or false"),
        (3, "stages.one=3 must be a mapping"),
    ],
)
def test_what_a_stage_does_not_take_is_named(stage, told):
    with pytest.raises(UserError) as error:
        stages_of(staged(one=stage), depths(2, 4))
    assert told in str(error.value)
