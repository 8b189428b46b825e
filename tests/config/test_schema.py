from typing import Literal

import pytest
from omegaconf import OmegaConf
from support.composing import compose

from kdfeatures.config.schema import DataConfig, ModelConfig, StudentConfig, TeacherConfig, section, typed
from kdfeatures.errors import UserError

DISTILL = compose("distill")


def changed(**values):
    """values: what to put into the config, `__` for a dot."""
    cfg = OmegaConf.create(OmegaConf.to_container(DISTILL))
    for key, value in values.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return cfg


def refused(cfg, name, kind):
    with pytest.raises(UserError) as caught:
        section(cfg, name, kind)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_section_becomes_an_object_of_its_class():
    made = section(changed(student__layers=3, student__layers_from=[2, 4, 6]), "student", StudentConfig)
    assert isinstance(made, StudentConfig)
    assert (made.layers, made.layers_from, made.path) == (3, [2, 4, 6], None)


def test_a_nested_section_becomes_an_object_too():
    made = section(DISTILL, "teacher", TeacherConfig)
    assert isinstance(made.model, ModelConfig) and made.model.path is None
    assert made.trainer["learning_rate"] == DISTILL.teacher.trainer.learning_rate


def test_a_number_written_as_text_is_a_number_and_a_no_is_false():
    assert section(changed(data__max_length="64"), "data", DataConfig).max_length == 64
    assert section(changed(teacher__force="no"), "teacher", TeacherConfig).force is False


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("student.layers", "three", StudentConfig),
        ("student.layers", 2.5, StudentConfig),
        ("student.layers_from", 3, StudentConfig),
        ("student.layers_from", ["first"], StudentConfig),
        ("data.max_length", "long", DataConfig),
        ("data.max_length", None, DataConfig),
        ("teacher.force", "perhaps", TeacherConfig),
        ("teacher.model.layers", "three", TeacherConfig),
    ],
)
def test_a_value_of_another_type_is_one_line_that_begins_with_the_key(key, value, kind):
    told = refused(changed(**{key.replace(".", "__"): value}), key.split(".")[0], kind)
    assert told.startswith(key)
    if isinstance(value, str):
        assert repr(value) in told


def test_a_key_that_the_section_does_not_know_is_named():
    assert refused(changed(data__max_lenght=3), "data", DataConfig).startswith("data.max_lenght: ")


def test_a_key_that_is_missing_is_named():
    cfg = changed()
    del cfg.data["max_length"]
    assert refused(cfg, "data", DataConfig).startswith("data.max_length: ")


def test_typed_converts_plain_types_and_leaves_the_rest_alone():
    values = {"flag": "off", "count": "3", "rate": 1, "name": "x", "none": None, "kind": "sum", "other": [1]}
    declared = {
        "flag": bool,
        "count": int | None,
        "rate": float,
        "name": str,
        "none": float | None,
        "kind": Literal["sum", "mean"],
        "absent": int,
    }
    assert typed(values, declared, "trainer") == values | {"flag": False, "count": 3, "rate": 1.0}


@pytest.mark.parametrize(
    ("kind", "value"), [(bool, "perhaps"), (int, 1.5), (int | None, "x"), (float, "fast"), (int, None)]
)
def test_typed_names_option_and_value(kind, value):
    with pytest.raises(UserError, match="^trainer.rate: "):
        typed({"rate": value}, {"rate": kind}, "trainer")
