"""Arms as overrides: what each takes of what the user said, and the control that reads other texts."""

from pathlib import Path

import pytest

from kdfeatures.benchmark.arms import arms_of
from kdfeatures.benchmark.grid_run import compose
from kdfeatures.config.load import distill_settings
from kdfeatures.distillation import Mixup
from kdfeatures.errors import UserError
from kdfeatures.pipelines.plan import plan_stages

ALL = ["student.layers=2", "trainer.bf16=true"]


def plans_of(cfg):
    folder = Path("unused")
    return plan_stages(distill_settings(cfg, folder), folder)


def test_controls_come_first_and_all_arms_share_what_is_not_of_terms(settings):
    found = arms_of(settings(*ALL, "recipes=[tinybert_joint,minilmv2_joint]"), "agreement", None)
    assert list(found) == [
        "hard", "pseudo", "logits", "tinybert_joint, other texts", "tinybert_joint", "minilmv2_joint"
    ]  # fmt: skip
    assert all(set(ALL) <= set(overrides) for overrides in found.values())
    assert [overrides[0] for overrides in found.values()][:3] == [
        "recipe=hard",
        "recipe=pseudo",
        "recipe=tinybert_joint",
    ]


def test_overrides_of_terms_are_of_the_recipe_alone(settings):
    weigh = "losses.hidden.weight=0.5"
    found = arms_of(settings(weigh), "agreement", None)
    assert [arm for arm, overrides in found.items() if weigh in overrides] == [
        "logits",
        "tinybert_joint, other texts",
        "tinybert_joint",
    ]
    with pytest.raises(UserError, match=f"{weigh} is for the terms of one recipe, but there are 2"):
        arms_of(settings(weigh, "recipes=[tinybert_joint,minilmv2_joint]"), "agreement", None)


def test_arms_of_ones_own_and_of_one_task(settings):
    made = settings("+arms.far=['recipe=tinybert_joint','mapping=last']", "+per_task.agreement=['data.max_length=16']")
    found = arms_of(made, "agreement", None)
    assert found["far"] == ["recipe=tinybert_joint", "mapping=last", "data.max_length=16"]
    assert all("data.max_length=16" in overrides for overrides in found.values())


def test_a_term_of_one_task_is_not_of_the_controls(settings):
    weigh = "losses.hidden.weight=0.5"
    found = arms_of(settings(f"+per_task.agreement=['{weigh}','data.max_length=16']"), "agreement", None)
    assert [arm for arm, overrides in found.items() if weigh in overrides] == [
        "logits",
        "tinybert_joint, other texts",
        "tinybert_joint",
    ]
    assert all("data.max_length=16" in overrides for overrides in found.values())


@pytest.mark.parametrize("recipe", ["tinybert_joint", "minilmv2_joint", "tinybert", "minilmv2", "mobilebert"])
def test_on_other_texts_every_term_on_layers_and_no_other_has_that_teacher(settings, recipe):
    found = arms_of(settings(f"recipes=[{recipe}]"), "agreement", None)
    cfg = compose("distill", [*found[f"{recipe}, other texts"], "task=agreement", "teacher.path=DIR"])
    assert cfg.teachers.other_texts == {"path": "DIR", "weight": 0.0, "permuted": True}
    terms = dict(cfg.losses) | {name: term for stage in cfg.stages.values() for name, term in stage.losses.items()}
    moved = {name for name, term in terms.items() if term.get("teacher") == "other_texts"}
    assert moved and moved == {"hidden", "attention", "relations", "feature"} & terms.keys()


def test_on_other_texts_auto_has_the_terms_that_fit(settings):
    found = arms_of(settings("recipes=[auto]"), "agreement", None)
    cfg = compose("distill", [*found["auto, other texts"], "task=agreement", "teacher.path=null"])
    assert {name for name, term in cfg.losses.items() if term.get("teacher") == "other_texts"} == {
        "hidden",
        "attention",
    }


@pytest.mark.parametrize(
    ("recipe", "logits"),
    [("tinybert_joint", "SoftCrossEntropy"), ("tinybert", "SoftCrossEntropy"), ("mobilebert", "LogitKD"),
     ("fitnets", "LogitKD"), ("pkd", "LogitKD"), ("auto", "LogitKD")],
)  # fmt: skip
def test_logits_are_the_recipe_without_its_terms_on_layers_for_as_many_steps(settings, recipe, logits):
    found = arms_of(settings(f"recipes=[{recipe}]"), "agreement", None)
    cfg = compose("distill", [*found["logits"], "task=agreement"])
    (plan,) = plans_of(cfg)
    losses = {name: type(term.loss).__name__ for name, term in plan.objective.terms.items()}
    assert losses.pop("logits") == logits and losses in ({}, {"labels": "HardLabel"})
    whole = compose("distill", [*found[recipe], "task=agreement"])
    trained = sum(one.stage.trainer.arguments["num_train_epochs"] for one in plans_of(whole))
    assert plan.stage.trainer.arguments["num_train_epochs"] == pytest.approx(trained, rel=1e-4)


def mixed(found, arm):
    return [plan.objective.mixup for plan in plans_of(compose("distill", [*found[arm], "task=agreement"]))]


@pytest.mark.parametrize("weight", ["0.1", "{schedule: linear, start: 0, end: 1}"])
def test_logits_of_a_recipe_on_mixed_texts_have_no_layers_to_be_consistent_in(settings, weight):
    terms = ["mixup=embeddings", "mixup.alpha=0.5", f"mixup.consistency={weight}"]
    found = arms_of(settings("recipes=[tinybert_joint]", "controls=[hard,logits]", *terms), "agreement", None)
    assert mixed(found, "hard") == [None]
    assert mixed(found, "logits") == [Mixup(alpha=0.5)]
    assert mixed(found, "tinybert_joint")[0].is_consistent


def test_logits_of_cr_ild_are_its_second_stage(settings):
    found = arms_of(settings("recipes=[cr_ild]", "controls=[hard,logits]"), "agreement", None)
    assert mixed(found, "logits") == [None]
    assert [made is None for made in mixed(found, "cr_ild")] == [False, True]


def test_where_a_recipe_reads_no_logits_they_are_hintons(settings):
    found = arms_of(settings("recipes=[minilm]"), "agreement", None)
    assert found["logits"] == ["recipe=logits"]


def test_an_arm_that_no_run_could_be_is_refused_before_any_runs(settings):
    narrow = ["student.hidden_size=100", "student.heads=4", "student.init=random"]
    with pytest.raises(UserError, match="must divide both attention widths"):
        arms_of(settings("recipes=[tinybert_joint,minilmv2_joint]", *narrow), "agreement", None)


def test_a_recipe_without_layers_has_no_such_control(settings):
    assert list(arms_of(settings("recipes=[rkd]", "controls=[hard,permuted]"), "agreement", None)) in (
        ["hard", "rkd"],
        ["hard", "rkd, other texts", "rkd"],
    )
    assert list(arms_of(settings("recipes=[logits]", "controls=[hard,permuted]"), "agreement", None)) == [
        "hard",
        "logits",
    ]


def test_a_baseline_that_is_no_arm_is_refused(settings):
    with pytest.raises(UserError, match="baseline=hrd is no arm; did you mean 'hard'"):
        arms_of(settings("baseline=hrd"), "agreement", None)
