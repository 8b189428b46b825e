"""recipe=auto: which terms a run has, by the sizes of its models."""

from pathlib import Path

import pytest
from support.composing import compose
from support.tiny import tiny_config
from transformers import BertConfig

from kdfeatures.api.recipes import recipe
from kdfeatures.capture.sizes import EncoderSizes
from kdfeatures.config.load import distill_settings as settings_of
from kdfeatures.config.option_errors import option_line
from kdfeatures.config.terms.auto import common_heads
from kdfeatures.errors import ConfigError, UserError
from kdfeatures.pipelines.plan import plan_stages

ALIKE = ["labels", "logits", "hidden", "attention"]
UNLIKE = ["labels", "logits", "relations"]


@pytest.fixture
def teacher(tmp_path):
    """Return the folder of a teacher's config, 4 x 48 with 4 heads; no run here gets as far as its weights."""
    config = tiny_config("bert", layers=4, width=48, heads=4)
    config.save_pretrained(tmp_path / "teacher")
    return tmp_path / "teacher"


def distill_settings(cfg):
    return settings_of(cfg, Path("unused"))


def settings(teacher, *overrides):
    line = ["task=mrpc", f"teacher.path={teacher}", "recipe=auto", "student.layers=2", *overrides]
    return distill_settings(compose("distill", *line))


def terms(teacher, tmp_path, *overrides):
    """Return a run's only objective, bound to its models, by the loss of each term."""
    (plan,) = plan_stages(settings(teacher, *overrides), tmp_path / "out")
    return plan.objective.terms


def test_models_of_one_width_are_compared_by_hidden_states_and_attention(teacher, tmp_path):
    bound = terms(teacher, tmp_path)
    assert list(bound) == ALIKE
    assert [(pair.student, pair.teacher) for pair in bound["attention"].pairs] == [(1, 2), (2, 4)]
    assert list(terms(teacher, tmp_path, "student.init=random")) == ALIKE


@pytest.mark.parametrize(
    ("sizes", "heads"),
    [
        (["student.hidden_size=24", "student.heads=4"], 4),
        (["student.hidden_size=48", "student.heads=3"], 4),
        (["student.hidden_size=36", "student.heads=6"], 6),
        (["student.hidden_size=20", "student.heads=2"], 4),
    ],
)
def test_others_by_relations_over_heads_that_divide_both(teacher, tmp_path, sizes, heads):
    bound = terms(teacher, tmp_path, *sizes, "student.init=random")
    assert list(bound) == UNLIKE
    assert bound["relations"].loss.relation_heads == heads
    assert bound["relations"].weight == 5.0
    assert [(pair.student, pair.teacher) for pair in bound["relations"].pairs] == [(2, 4)]


def test_they_are_the_terms_that_docs_results_measured(teacher):
    measured = settings(teacher, "recipe=hidden_joint", "+loss@losses.attention=attention_kl").record["losses"]
    assert settings(teacher).record["losses"] == measured
    narrow = ["student.hidden_size=24", "student.heads=4", "student.init=random"]
    relations = ["recipe=minilmv2_joint", "+loss@losses.labels=hard_label", "losses.relations.weight=10"]
    heads = "losses.relations.relation_heads=4"
    measured = settings(teacher, *relations, heads, *narrow).record["losses"]
    half = {name: {**term, "weight": term["weight"] / 2} for name, term in measured.items()}
    assert settings(teacher, *narrow).record["losses"] == half


def test_heads_that_are_said_stay(teacher, tmp_path):
    narrow = ["student.hidden_size=24", "student.heads=4", "student.init=random"]
    bound = terms(teacher, tmp_path, *narrow, "losses.relations.relation_heads=8")
    assert bound["relations"].loss.relation_heads == 8
    with pytest.raises(UserError) as refused:
        terms(teacher, tmp_path, *narrow, "losses.relations.relation_heads=7")
    assert "losses.relations.relation_heads=7 must divide both attention widths" in option_line(refused.value)


def test_a_term_that_is_none_is_named(teacher):
    with pytest.raises(UserError, match="losses.relations=None is no term"):
        settings(teacher, "student.hidden_size=24", "student.init=random", "losses.relations=null")


def test_a_family_that_hides_its_scores_is_compared_by_relations(tmp_path):
    tiny_config("funnel").save_pretrained(tmp_path / "funnel")
    made = distill_settings(
        compose("distill", "task=mrpc", f"teacher.path={tmp_path / 'funnel'}", f"student.path={tmp_path / 'funnel'}",
                "recipe=auto")
    )  # fmt: skip
    assert list(made.stages[0].objective.terms) == UNLIKE


def test_stored_answers_have_no_layers(tmp_path):
    BertConfig().save_pretrained(tmp_path / "student")
    line = ["task=mrpc", "teacher.path=null", "teacher.outputs=answers.parquet", f"student.path={tmp_path / 'student'}"]
    made = distill_settings(compose("distill", *line, "recipe=auto"))
    assert list(made.stages[0].objective.terms) == ["labels", "logits"]


def test_the_record_says_the_terms_that_the_run_has(teacher):
    made = settings(teacher, "losses.hidden.weight=0.5", "~losses.labels", "+loss@losses.more=normalized_cls")
    assert made.record["recipe_name"] == "auto"
    assert list(made.record["losses"]) == ["logits", "hidden", "attention", "more"]
    assert made.record["losses"]["hidden"]["weight"] == 0.5
    assert list(made.stages[0].record["losses"]) == list(made.record["losses"])


def test_the_terms_hold_for_stages_too(teacher):
    made = settings(teacher, "+stages={first: {}, second: {freeze_below: 1}}")
    assert [list(stage.objective.terms) for stage in made.stages] == [ALIKE, ALIKE]


def test_other_recipes_stay_as_they_are(teacher):
    assert list(settings(teacher, "recipe=tinybert_joint").record["losses"]) == ["logits", "hidden", "attention"]


def test_without_models_it_is_no_recipe():
    with pytest.raises(ConfigError, match=r'kdfeatures.distill\(recipe="auto"\) choose'):
        recipe("auto")


def test_common_heads_are_no_more_than_one_of_the_models_has():
    def sizes(width, heads):
        return EncoderSizes(tiny_config("bert", width=width, heads=heads))

    assert common_heads(sizes(312, 12), sizes(768, 12)) == 12
    assert common_heads(sizes(256, 4), sizes(768, 12)) == 8
    assert common_heads(sizes(384, 12), sizes(1024, 16)) == 16
    assert common_heads(sizes(35, 5), sizes(64, 8)) == 1
