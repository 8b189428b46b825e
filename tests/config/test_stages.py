import pytest
from support.composing import compose

from kdfeatures.config.stages import stages_of
from kdfeatures.errors import UserError


def staged(*overrides, **stages):
    cfg = compose("distill", "recipe=logits", *overrides)
    cfg.stages = stages
    return cfg


def test_a_config_without_stages_is_its_only_stage():
    cfg = compose("distill", "recipe=tinybert_joint")
    (stage,) = stages_of(cfg, 2, 4)
    assert (stage.name, stage.cfg) == ("", cfg)


def test_a_stage_changes_what_it_says_and_takes_the_rest_from_outside():
    cfg = staged("trainer.max_steps=7", one={"trainer": {"learning_rate": 0.5}}, two={"data": {"max_length": 9}})
    one, two = stages_of(cfg, 2, 4)
    assert (one.name, two.name) == ("one", "two")
    assert (one.cfg.trainer.learning_rate, one.cfg.trainer.max_steps) == (0.5, 7)
    assert (two.cfg.trainer.learning_rate, two.cfg.data.max_length) == (cfg.trainer.learning_rate, 9)
    assert one.cfg.data == cfg.data and one.cfg.stages == {}


def test_losses_outside_hold_for_every_stage():
    extra = {"_target_": "kdfeatures.losses.HardLabel", "weight": 2.0}
    one, two = stages_of(staged(one={"losses": {"extra": extra}}, two={}), 2, 4)
    assert set(one.cfg.losses) == {"labels", "logits", "extra"}
    assert set(two.cfg.losses) == {"labels", "logits"}


def test_a_stages_mapping_replaces_the_whole_one_outside():
    final = {"_target_": "kdfeatures.mapping.final", "teacher_layer": None}
    (stage,) = stages_of(staged(one={"mapping": final}), 2, 4)
    assert stage.cfg.mapping == final  # and has nothing of the rule outside, such as `embeddings`


def test_each_pair_makes_a_stage_for_every_layer_and_freezes_what_lies_below():
    stages = stages_of(staged(layer={"each_pair": True}, end={}), 3, 6)
    assert [stage.name for stage in stages] == ["layer_1", "layer_2", "layer_3", "end"]
    assert [list(stage.cfg.mapping.pairs[0]) for stage in stages[:3]] == [[1, 2], [2, 4], [3, 6]]
    assert [stage.cfg.freeze_below for stage in stages] == [None, 2, 3, None]


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        ({"loses": {}}, "stages.one.loses is unknown; did you mean 'losses'?; a stage takes"),
        ({"each_pair": "yes"}, "stages.one.each_pair=yes must be true or false"),
        (3, "stages.one=3 must be a mapping"),
    ],
)
def test_what_a_stage_does_not_take_is_named(stage, told):
    cfg = compose("distill", "recipe=logits")
    cfg.stages = {"one": stage}
    with pytest.raises(UserError) as error:
        stages_of(cfg, 2, 4)
    assert told in str(error.value)
