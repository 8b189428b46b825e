import dataclasses
from typing import Literal

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from support.composing import plain

from kdfeatures.config.schema import plain_config, section, typed
from kdfeatures.data.settings import DataSettings
from kdfeatures.errors import UserError
from kdfeatures.models.encoders import EncoderSpec
from kdfeatures.models.students import StudentSpec
from kdfeatures.models.teachers import OtherTeacherSettings, TeacherSettings

DISTILL = plain("distill")


def changed(**values):
    """values: what to put into the config, `__` for a dot."""
    cfg = OmegaConf.create(DISTILL)
    for key, value in values.items():
        OmegaConf.update(cfg, key.replace("__", "."), value)
    return OmegaConf.to_container(cfg)


def teacher_of(config):
    """What a teacher is; how one is trained that is not there yet stands beside it."""
    return {"teacher": {key: value for key, value in config["teacher"].items() if key not in ("model", "trainer")}}


def refused(config, name, kind, **options):
    with pytest.raises(UserError) as caught:
        section(config, name, kind, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_section_becomes_an_object_of_its_class():
    made = section(changed(student__layers=3, student__layers_from=[2, 4, 6]), "student", StudentSpec)
    assert isinstance(made, StudentSpec)
    assert (made.layers, made.layers_from, made.path) == (3, [2, 4, 6], None)


def test_a_nested_section_becomes_an_object_too():
    made = section(DISTILL["teacher"], "model", EncoderSpec, where="teacher.model")
    assert isinstance(made, EncoderSpec) and made.path is None


def test_a_number_written_as_text_is_a_number_and_a_no_is_false():
    assert section(changed(data__max_length="64"), "data", DataSettings).max_length == 64
    assert section(teacher_of(changed(teacher__force="no")), "teacher", TeacherSettings).force is False


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("student.layers", "three", StudentSpec),
        ("student.layers", 2.5, StudentSpec),
        ("student.layers_from", 3, StudentSpec),
        ("student.layers_from", ["first"], StudentSpec),
        ("data.max_length", "long", DataSettings),
        ("data.max_length", None, DataSettings),
        ("teacher.force", "perhaps", TeacherSettings),
        ("teacher.model.layers", "three", EncoderSpec),
    ],
)
def test_a_value_of_another_type_is_one_line_that_begins_with_the_key(key, value, kind):
    config = changed(**{key.replace(".", "__"): value})
    if kind is EncoderSpec:
        told = refused(config["teacher"], "model", kind, where="teacher.model")
    else:
        told = refused({**config, **teacher_of(config)}, key.split(".")[0], kind)
    assert told.startswith(key)
    if isinstance(value, str):
        assert repr(value) in told


def test_a_key_that_the_section_does_not_know_is_named():
    assert refused(changed(data__max_lenght=3), "data", DataSettings).startswith("data.max_lenght: ")


def test_a_key_that_is_missing_is_named():
    given = {"teachers.b": {"weight": 1.0}}
    assert refused(given, "teachers.b", OtherTeacherSettings).startswith("teachers.b.path: ")


def test_a_key_that_is_left_out_has_the_default_of_its_class():
    config = changed()
    del config["data"]["max_length"]
    assert section(config, "data", DataSettings).max_length == DataSettings().max_length


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


def test_a_reference_to_what_is_not_there_is_one_line_with_the_way_to_write_the_text():
    with pytest.raises(UserError) as caught:
        plain_config(OmegaConf.create({"task": {"labels": ["${x}", "b"]}}), None)
    told = str(caught.value)
    assert told.startswith("task.labels[0]: Interpolation key 'x' not found; to write the text itself, put a backslash")
    config = plain_config(OmegaConf.create({"task": {"labels": [r"\${x}", "b"]}}), None)
    assert config["task"]["labels"] == ["${x}", "b"]


def test_terms_without_a_recipes_name_are_called_their_own():
    assert plain_config(OmegaConf.create({"losses": {}}), None)["recipe_name"] == "own"
    assert "recipe_name" not in plain_config(OmegaConf.create({"model": {}}), None)


HINTS = [bool, int, float, str, bool | None, int | None, float | None, str | None, int | str, bool | str | None]
VALUES = [True, False, 0, 1, 7, -2, 2**40, 0.0, 1.0, 2.5, float("inf"), None, "", "no", "true", "8", "1e-3", "none",
          "a word", "???", "${oc.env:HOME}", [1], {"a": 1}]  # fmt: skip


@pytest.mark.parametrize("hint", HINTS, ids=str)
@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_value_of_the_right_type_is_what_omegaconf_makes_of_it_and_others_are_asked_of_it(hint, value):
    kind = dataclasses.make_dataclass("Some", [("key", hint), ("other", int)])
    try:
        merged = OmegaConf.merge(OmegaConf.structured(kind("???", 3)), {"key": value})
        expected = OmegaConf.to_container(merged, resolve=False)["key"]
    except OmegaConfBaseException as error:
        expected = error
    try:
        made = typed({"key": value}, {"key": hint}, "some")["key"]
    except UserError as error:
        is_ours = "must be" in str(error)  # what OmegaConf would take, such as 2 as true
        assert is_ours or str(expected).splitlines()[0] in str(error)
    else:
        assert type(made) is type(expected) and made == expected
