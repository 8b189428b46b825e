import pytest
from support.composing import bound, plain
from support.tiny import tiny_config

from kdfeatures.alignment import ProjectionsByTeacher, projections_for
from kdfeatures.config.teachers import teacher_settings
from kdfeatures.errors import UserError
from kdfeatures.mapping.pairs import DEFAULT_TEACHER

B = "+teachers.b={path: there, weight: 3.0}"
MAIN_CONFIG = tiny_config("bert", layers=12, width=48, heads=3)
OTHER_CONFIG = tiny_config("bert", layers=6, width=24, heads=4)
STUDENT = tiny_config("bert", layers=3, width=24, heads=3)


def settings(*overrides):
    return teacher_settings(plain("distill", *overrides))


def refused(*overrides):
    with pytest.raises(UserError) as caught:
        settings(*overrides)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def objective(*overrides, others=True):
    config = plain("distill", *overrides)
    return bound(config, STUDENT, MAIN_CONFIG, others={"b": OTHER_CONFIG} if others else None)[0]


def test_one_teacher_has_the_whole_say_and_several_share_by_weight():
    assert settings()[1] == {} and objective(others=False).shares == {DEFAULT_TEACHER: 1.0}
    main, others = settings(B)
    assert (main.weight, others["b"].path, others["b"].weight) == (1.0, "there", 3.0)
    assert objective(B).shares == {DEFAULT_TEACHER: 0.25, "b": 0.75}


def test_teachers_without_weights_have_the_same_share():
    assert settings("+teachers.b={path: there}")[1]["b"].weight == 1.0
    assert objective("+teachers.b={path: there}").shares == {DEFAULT_TEACHER: 0.5, "b": 0.5}


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+teachers.main={path: x, weight: 1}"], "teachers.main: a teacher's name must be a word other than main"),
        (["+teachers.b=there"], "teachers.b=there must have a path and a weight: teachers.b={path: there, weight"),
        (["+teachers.b={weight: 1}"], "teachers.b.path: "),
        (["+teachers.b={path: x, weight: 1, mapping: y}"], "teachers.b.mapping: "),
        (["+teachers.b={path: x, weight: -1}"], "teachers.b.weight=-1.0 must be at least 0."),
        (["+teachers.b={path: x, weight: 1, shuffled: true}"], "teachers.b is shuffled, so its answers mean nothing"),
        (["+teachers.b={path: x, weight: 1, permuted: true}"], "teachers.b is permuted, so its answers mean nothing"),
        (["teacher.weight=inf"], "teacher.weight=inf must be a finite number"),
        (["teacher.weight=0"], "teacher.weight are all 0, so there is no distribution to learn"),
        (["teacher.dtype=float8"], "teacher.dtype=float8 is unknown"),
        (["teacher.id_column=guid"], "teacher.id_column=guid has no effect without teacher.outputs"),
    ],
)
def test_what_cannot_be_a_teacher_is_named(overrides, message):
    assert message in refused(*overrides)


def test_a_term_maps_projects_and_compares_heads_with_its_own_teacher():
    named = ("losses.hidden.teacher=b", "losses.attention.teacher=null")
    made = objective("recipe=tinybert_joint", B, *named)
    assert made.terms["hidden"].pairs == ((0, 0), (1, 2), (2, 4), (3, 6))
    assert made.terms["attention"].pairs == ((1, 4), (2, 8), (3, 12))
    assert isinstance(made.projections, ProjectionsByTeacher)
    assert not projections_for(made.projections, "b").linear  # equal widths
    assert made.layers("hidden", "teacher", "b") == [0, 2, 4, 6] and made.layers("hidden", "teacher") == []
    assert made.layers("attention", "teacher") == [4, 8, 12] and made.layers("attention", "student") == [1, 2, 3]
    with pytest.raises(UserError, match="student has 3 heads and the teacher 4"):
        objective("recipe=tinybert_joint", B, "losses.attention.teacher=b")
    with pytest.raises(UserError, match="teacher layer 12, but the teacher has 6 layers"):
        objective("recipe=logits", B, "+loss@losses.hidden=hidden_mse", "losses.hidden.teacher=b",
                  "mapping=explicit", "mapping.pairs=[[3,12]]")  # fmt: skip


def test_a_teacher_that_is_not_there_is_named_with_those_that_are():
    with pytest.raises(UserError, match="losses.hidden.teacher=c is no teacher of this run.*; it has main, b"):
        objective("recipe=tinybert_joint", B, "losses.hidden.teacher=c")
    with pytest.raises(UserError, match="losses.hidden.teacher=b is no teacher of this run; it has main"):
        objective("recipe=tinybert_joint", "losses.hidden.teacher=b", others=False)


def test_with_one_teacher_projections_keep_their_names():
    made = objective("recipe=tinybert_joint", others=False)
    assert set(made.projections.state_dict()) >= {"linear.0_to_0.weight", "linear.3_to_12.bias"}
    assert projections_for(made.projections, DEFAULT_TEACHER) is made.projections


def test_stored_outputs_have_no_layers_to_compare():
    made, pairs = bound(plain("distill", "recipe=logits"), STUDENT, None)
    assert pairs == () and made.needs_teacher_logits
    with pytest.raises(UserError, match="losses.attention compares layers, but teacher.outputs holds none; drop it"):
        bound(plain("distill", "recipe=minilm_joint"), STUDENT, None)
